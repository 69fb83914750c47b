"""Dependencies in a manifest: where each stands in the text. Raises WorkFailed for what is no manifest."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from automation_services.work import WorkFailed

# Longer numbers are no versions, and int() refuses those of thousands of digits.
_VERSION = r"(?P<version>[0-9]{1,9}(?:\.[0-9]{1,9}){0,2})"
_REQUIREMENT = re.compile(
    rf"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?P<pin>==|>=|~=)\s*{_VERSION}\s*(?:;.*|#.*)?"
)
_BARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?\s*(?:(?:[<>!=~]=|[<>;#@]).*)?")
_NPM_LINE = re.compile(rf'\s*"(?P<name>[^"]+)"\s*:\s*"(?P<pin>[\^~]?){_VERSION}"\s*,?\s*')
_GO_LINE = re.compile(rf"\s*(?:require\s+)?(?P<name>[\w.~/-]+\.[\w.~/-]+)\s+(?P<pin>v){_VERSION}\s*(?://.*)?")
_NPM_SECTIONS = ("dependencies", "devDependencies")


@dataclass(frozen=True, slots=True)
class Dependency:
    """One dependency; ``line`` counts from 0, ``start`` and ``end`` are where its version stands in it."""

    name: str
    version: str
    exact: bool
    line: int
    start: int
    end: int


def _found(match: re.Match[str], line: int, exact: bool, name: str | None = None) -> Dependency:
    return Dependency(name or match["name"], match["version"], exact, line, *match.span("version"))


def requirements(lines: list[str]) -> list[Dependency]:
    """requirements.txt; a dependency without a version, and options, are left alone."""
    found = []
    for number, line in enumerate(lines):
        text = line.strip()
        if not text or text.startswith(("#", "-")):
            continue
        if match := _REQUIREMENT.fullmatch(line.rstrip("\r\n")):
            name = re.sub(r"[-_.]+", "-", match["name"]).lower()
            found.append(_found(match, number, match["pin"] == "==", name))
        elif not _BARE.fullmatch(text):
            raise WorkFailed(f"line {number + 1} is no requirement")
    return found


def package(lines: list[str]) -> list[Dependency]:
    """package.json; what is no plain version (a tag, a range, an address) is left alone."""
    try:
        parsed = json.loads("".join(lines))
    except (ValueError, RecursionError) as error:
        raise WorkFailed(f"not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise WorkFailed("package.json is no object")
    wanted: dict[str, str] = {}
    for section in _NPM_SECTIONS:
        part = parsed.get(section, {})
        if not isinstance(part, dict):
            raise WorkFailed(f"{section} is no object")
        wanted |= part
    found = []
    for number, line in enumerate(lines):
        match = _NPM_LINE.fullmatch(line.rstrip("\r\n"))
        if match and wanted.get(match["name"]) == match["pin"] + match["version"]:
            found.append(_found(match, number, not match["pin"]))
    return found


def go_module(lines: list[str]) -> list[Dependency]:
    """go.mod; pre-releases are left alone."""
    if not any(line.startswith("module ") for line in lines):
        raise WorkFailed("no module line")
    found, inside = [], False
    for number, line in enumerate(lines):
        text = line.strip()
        if re.fullmatch(r"require\s*\(", text):
            inside = True
        elif text == ")":
            inside = False
        elif (inside or text.startswith("require ")) and (match := _GO_LINE.fullmatch(line.rstrip("\r\n"))):
            found.append(_found(match, number, True))
    return found


MANIFESTS: dict[str, tuple[str, Callable[[list[str]], list[Dependency]]]] = {
    "requirements.txt": ("pypi", requirements),
    "package.json": ("npm", package),
    "go.mod": ("go", go_module),
}
"""Names of manifests, the ecosystem of each, and what reads it."""
