"""Reading the model: files and overlays in, a consistent Stack out, or every problem with its file and line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ..errors import BadModel, Problem
from . import consistency
from .stack import Stack
from .tree import Key, Tree, merge, read


def load(files: Sequence[Path], root: Path | None = None) -> Stack:
    """The model of the first file with the others laid upon it, in order.

    Raises BadModel with every problem found; names files relative to ``root`` where they lie in it.
    """
    base = (root or Path.cwd()).resolve()
    trees = [read(file, _shown(file, base)) for file in files]
    tree = trees[0]
    for overlay in trees[1:]:
        tree = merge(tree, overlay)
    try:
        stack = Stack.model_validate(tree.plain())
    except ValidationError as error:
        raise BadModel([_problem(tree, found) for found in error.errors()]) from None
    broken = [
        Problem(tree.at(path).file, tree.at(path).line, cause, mend) for path, cause, mend in consistency.broken(stack)
    ]
    if broken:
        raise BadModel(broken)
    return stack


def _shown(file: Path, base: Path) -> str:
    resolved = file.resolve()
    return str(resolved.relative_to(base)) if resolved.is_relative_to(base) else str(file)


def _problem(tree: Tree, found: Any) -> Problem:
    path: tuple[Key, ...] = tuple(found["loc"])
    where = tree.at(path)
    name = _dotted(tree, path)
    kind = found["type"]
    if kind == "extra_forbidden":
        return Problem(where.file, where.line, f"{name} is no key of the model", _closest(path))
    if kind == "missing":
        return Problem(where.file, where.line, f"{name} is missing", f"add the key {path[-1]!r} here")
    if path and path[-1] == "[key]":
        bad = path[-2]
        return Problem(
            where.file,
            where.line,
            f"{_dotted(tree, path[:-1])}: {bad!r} is not known here: {found['msg']}",
            "use a name of that form" if kind == "string_pattern_mismatch" else "use one of these names",
        )
    message = found["msg"].removeprefix("Value error, ")
    return Problem(where.file, where.line, f"{name} {message}" if kind == "text" else f"{name}: {message}", _mend(kind))


def _mend(kind: str) -> str:
    return "see stack.schema.json for what this key takes" if kind != "text" else "write the value in that form"


def _dotted(tree: Tree, path: Sequence[Key]) -> str:
    """A path as people write it: services.api-gateway.port rather than services.1.port."""
    words: list[str] = []
    for depth, step in enumerate(path):
        here = tree.at(path[: depth + 1]).value
        named = (
            isinstance(step, int) and isinstance(here, dict) and "name" in here and isinstance(here["name"].value, str)
        )
        words.append(str(here["name"].value) if named else str(step))
    return ".".join(words)


def _closest(path: Sequence[Key]) -> str:
    """Which known key was probably meant."""
    keys = _keys(Stack, path[:-1])
    close = difflib.get_close_matches(str(path[-1]), keys, n=1)
    return f"did you mean {close[0]!r}?" if close else f"remove it, or use one of: {', '.join(sorted(keys))}"


def _keys(kind: Any, path: Sequence[Key]) -> list[str]:
    """The keys that the type at a path of the model knows."""
    for step in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(step)) or next(
                (field for field in kind.model_fields.values() if field.alias == step), None
            )
            kind = field.annotation if field else None
        elif get_origin(kind) in (dict, tuple):
            kind = get_args(kind)[1] if get_origin(kind) is dict else get_args(kind)[0]
        kind = _unwrapped(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return []


def _unwrapped(kind: Any) -> Any:
    """The one type inside Optional or Annotated."""
    while get_origin(kind) not in (dict, tuple, None) and not isinstance(kind, type):
        kind = next(argument for argument in get_args(kind) if argument is not type(None))
    return kind
