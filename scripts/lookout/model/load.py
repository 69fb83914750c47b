"""Reading the model: files and overlays in, a consistent Stack out, or every problem with its file and line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args, get_origin

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
        raise BadModel([_problem(tree, found) for found in _causes(error.errors())]) from None
    broken = [
        Problem(tree.at(path).file, tree.at(path).line, cause, mend) for path, cause, mend in consistency.broken(stack)
    ]
    if broken:
        raise BadModel(broken)
    return stack


def _shown(file: Path, base: Path) -> str:
    resolved = file.resolve()
    return str(resolved.relative_to(base)) if resolved.is_relative_to(base) else str(file)


def _causes(errors: Sequence[Any]) -> list[Any]:
    """The errors without those that only follow from another one inside the same value."""
    return [
        found
        for found in errors
        if found["type"] != "too_short"
        or not any(len(other["loc"]) > len(found["loc"]) and _inside(other, found) for other in errors)
    ]


def _inside(inner: Any, outer: Any) -> bool:
    return bool(inner["loc"][: len(outer["loc"])] == outer["loc"])


_EXPECTED: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "too_short": "a list of {min_length} or more",
    "literal_error": "{expected}",
}
"""What the model expects, by pydantic's kind of error: https://docs.pydantic.dev/latest/errors/validation_errors/"""


def _problem(tree: Tree, found: Any) -> Problem:
    path: tuple[Key, ...] = tuple(found["loc"])
    where, kind = tree.at(path), found["type"]
    name = _dotted(tree, path)
    if kind == "extra_forbidden":
        cause, mend = f"{name} is no key of the model", _closest(str(path[-1]), _keys(Stack, path[:-1])) or "remove it"
    elif kind == "missing":
        cause, mend = f"{name} is missing", f"add the key {path[-1]!r} here"
    elif path and path[-1] == "[key]":
        cause = f"{_dotted(tree, path[:-2])} has the key {path[-2]!r}; expected {_expected(found)}"
        mend = _closest(str(path[-2]), _allowed(found)) or f"use {_expected(found)}"
    elif kind in _EXPECTED:
        given = json.dumps(found["input"], default=str) if not isinstance(found["input"], str) else repr(found["input"])
        cause = f"{name} is {given}; expected {_expected(found)}"
        mend = _closest(str(found["input"]), _allowed(found)) or f"use {_expected(found)}"
    elif kind == "text":
        cause, mend = f"{name} {found['msg']}", "write the value in that form"
    else:
        message = found["msg"].removeprefix("Value error, ")
        cause, mend = f"{name}: {message}", "see stack.schema.json for what this key takes"
    return Problem(where.file, where.line, cause, mend)


def _expected(found: Any) -> str:
    context = found.get("ctx", {})
    return str(context["expects"]) if found["type"] == "text" else _EXPECTED[found["type"]].format(**context)


def _allowed(found: Any) -> list[str]:
    """The values that a choice allows; none where the value is no choice."""
    return re.findall(r"'([^']*)'", found["ctx"]["expected"]) if found["type"] == "literal_error" else []


def _closest(given: str, known: Sequence[str]) -> str:
    """Which known word was probably meant; empty where none is known."""
    close = difflib.get_close_matches(given, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"remove it, or use one of: {', '.join(sorted(known))}" if known else ""


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
