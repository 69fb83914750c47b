"""YAML with positions: every value knows the file and line it came from, also after overlays are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import BadModel, Problem

Key = str | int

# The same loader in C where PyYAML was built with it: ten times faster.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Tree:
    """A value of a YAML document: a scalar, a list of trees or a mapping of trees, with its place."""

    value: Any
    file: str
    line: int

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def at(self, path: Sequence[Key]) -> Tree:
        """The deepest tree along a path; steps that the document does not have are passed over."""
        here = self
        for step in path:
            children = dict(enumerate(here.value)) if isinstance(here.value, list) else here.value
            if isinstance(children, dict) and step in children:
                here = children[step]
        return here


def read(path: Path, shown: str) -> Tree:
    """The document of a file. Raises BadModel when it cannot be read or is not one YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadModel([Problem(shown, 1, f"cannot be read: {error}", "give the path of a model file")]) from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise BadModel(
                [
                    Problem(
                        shown,
                        1,
                        "is not a mapping of keys to values",
                        "write keys of the model, or leave it out",
                    )
                ]
            )
        return _tree(node, loader, shown)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line + 1, len(text.splitlines())) if mark else 1
        raise BadModel(
            [Problem(shown, line, f"is not valid YAML: {error.problem}", "mend the syntax of this line")]
        ) from error
    except RecursionError as error:
        raise BadModel([Problem(shown, 1, "holds an anchor that refers to itself", "write the value out")]) from error
    except yaml.YAMLError as error:
        raise BadModel([Problem(shown, 1, f"is not valid YAML: {error}", "mend the syntax of the file")]) from error
    finally:
        loader.dispose()


def _tree(node: yaml.Node, loader: yaml.SafeLoader, file: str) -> Tree:
    line = node.start_mark.line + 1
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        raise BadModel([Problem(file, line, f"the tag {node.tag} is not known", "write the value without a tag")])
    if isinstance(node, yaml.MappingNode):
        children: dict[Any, Tree] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise BadModel([Problem(file, key_line, "merge keys (<<) are not read here", "write the keys out")])
            key = _scalar(key_node, loader, file)
            if not isinstance(key, str):
                raise BadModel([Problem(file, key_line, f"the key {key!r} is not text", "put the key in quotes")])
            if key in children:
                raise BadModel([Problem(file, key_line, f"the key {key!r} stands twice", "keep one of the two")])
            child = _tree(value_node, loader, file)
            children[key] = Tree(child.value, file, key_line)
        return Tree(children, file, line)
    if isinstance(node, yaml.SequenceNode):
        return Tree([_tree(child, loader, file) for child in node.value], file, line)
    return Tree(_scalar(node, loader, file), file, line)


def _scalar(node: yaml.Node, loader: yaml.SafeLoader, file: str) -> Any:
    try:
        return loader.construct_object(node)
    except (ValueError, LookupError, AttributeError) as error:  # the last two: !!bool and !!timestamp of another text
        why = error if isinstance(error, ValueError) else f"no {node.tag.rpartition(':')[2]}"
        cause = f"{node.value!r} is not what it looks like: {why}"
        raise BadModel(
            [Problem(file, node.start_mark.line + 1, cause, "put the value in quotes, or mend it")]
        ) from error


def merge(base: Tree, over: Tree) -> Tree:
    """``over`` laid upon ``base``: mappings by key (null removes one), lists of named things by name, else replaced.

    What was merged has the place of ``over``: what is wrong with it was not before.
    """
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        merged = dict(base.value)
        for key, child in over.value.items():
            if child.value is None and key in merged:
                del merged[key]
            else:
                merged[key] = merge(merged[key], child) if key in merged else child
        return Tree(merged, over.file, over.line)
    base_names, over_names = _names(base), _names(over)
    if base_names is not None and over_names is not None:
        children = list(base.value)
        for name, child in zip(over_names, over.value, strict=True):
            if name in base_names:
                children[base_names.index(name)] = merge(children[base_names.index(name)], child)
            else:
                children.append(child)
        return Tree(children, over.file, over.line)
    return over


def _names(tree: Tree) -> list[Any] | None:
    """The names of a list of named mappings; None for anything else."""
    if not isinstance(tree.value, list) or not tree.value:
        return None
    if not all(isinstance(child.value, dict) and "name" in child.value for child in tree.value):
        return None
    return [child.value["name"].value for child in tree.value]
