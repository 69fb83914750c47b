"""The upgrade worker: reads a manifest, chooses newer releases, writes a patch, and proves that it applies."""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from automation_services import catalogue
from automation_services.manifests import MANIFESTS, Dependency
from automation_services.work import WorkFailed
from telemetry import get_logger

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
# Shares of the quality: up to date, exactly pinned, and how small the steps are.
_WEIGHTS = (0.5, 0.2, 0.3)
_EASE = {"patch": 1.0, "minor": 0.8, "major": 0.4}
log = get_logger("automation_services.upgrades")


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What was done to a manifest; ``changes`` maps names to (from, to).

    ``quality`` is 0 to 1, None without a patch.
    """

    ecosystem: str
    changes: dict[str, tuple[str, str]]
    patch: str
    quality: float | None

    def result(self) -> dict[str, Any]:
        """For the result of the job."""
        changes = {name: {"from": old, "to": new} for name, (old, new) in self.changes.items()}
        return {"ecosystem": self.ecosystem, "changes": changes, "patch": self.patch, "quality": self.quality}


def upgrade(manifest: str, content: str, across_majors: bool = False) -> Upgrade:
    """Upgrade the dependencies that the catalogue knows. Raises WorkFailed; an empty patch where all are new."""
    try:
        return _upgrade(manifest, content, across_majors)
    except WorkFailed:
        raise
    except Exception as error:
        # Another try would break in the same way.
        log.error("manifest broke the upgrade", manifest=manifest, exc_info=error)
        raise WorkFailed("the manifest cannot be upgraded") from error


def _upgrade(manifest: str, content: str, across_majors: bool) -> Upgrade:
    ecosystem, read = MANIFESTS[manifest]
    old = content.splitlines(keepends=True)
    dependencies = read(old)
    if not dependencies:
        raise WorkFailed("no dependency with a version")
    targets = {
        dependency: goal
        for dependency in dependencies
        if (goal := catalogue.target(ecosystem, dependency.name, dependency.version, across_majors)) is not None
    }
    new = list(old)
    changes: dict[str, tuple[str, str]] = {}
    for dependency, goal in targets.items():
        if goal != dependency.version:
            changes[dependency.name] = dependency.version, goal
            line = old[dependency.line]
            new[dependency.line] = line[: dependency.start] + goal + line[dependency.end :]
    patch = "".join(_ended(difflib.unified_diff(old, new, f"a/{manifest}", f"b/{manifest}")))
    _verify(manifest, content, patch, {d.line: goal for d, goal in targets.items()})
    newest = sum(goal == catalogue.RELEASES[ecosystem][d.name][-1] for d, goal in targets.items())
    quality = _quality(dependencies, newest, list(changes.values())) if changes else None
    return Upgrade(ecosystem, changes, patch, quality)


def apply(content: str, patch: str) -> str:
    """``content`` with a unified diff of one file applied. Raises WorkFailed where it does not fit exactly."""
    old = content.splitlines(keepends=True)
    new: list[str] = []
    at = 0
    lines = patch.splitlines(keepends=True)[2:]
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if hunk := _HUNK.match(line):
            start = int(hunk[1]) - (0 if hunk[2] == "0" else 1)
            if start < at:
                raise WorkFailed("hunks of the patch overlap")
            new += old[at:start]
            at = start
            continue
        text = line[1:]
        if number < len(lines) and lines[number].startswith("\\"):
            text = text.rstrip("\n")
            number += 1
        if line[0] in " -":
            if at >= len(old) or old[at] != text:
                raise WorkFailed(f"the patch does not fit at line {at + 1}")
            at += 1
        if line[0] in " +":
            new.append(text)
    return "".join(new + old[at:])


def _ended(lines: Any) -> list[str]:
    """Lines of a diff, with the usual mark after one that has no newline."""
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]


def _verify(manifest: str, content: str, patch: str, goals: dict[int, str]) -> None:
    """The patched manifest, read again, has the versions that were chosen and is otherwise as before."""
    patched = apply(content, patch) if patch else content
    _, read = MANIFESTS[manifest]
    before = {d.line: d for d in read(content.splitlines(keepends=True))}
    after = {d.line: d for d in read(patched.splitlines(keepends=True))}
    if before.keys() != after.keys():
        raise WorkFailed("the patch changes what the manifest depends on")
    for line, dependency in after.items():
        if dependency.name != before[line].name or dependency.version != goals.get(line, before[line].version):
            raise WorkFailed(f"the patch leaves {dependency.name} at {dependency.version}")


def _quality(dependencies: list[Dependency], newest: int, changes: list[tuple[str, str]]) -> float:
    """0 to 1: how much is up to date and exactly pinned after the patch, and how small its steps are.

    Up to date are the ``newest``, at the last of all releases; a package that the catalogue does not know is not.
    """
    pinned = sum(dependency.exact for dependency in dependencies)
    ease = sum(_EASE[_step(old, new)] for old, new in changes) / len(changes)
    parts = newest / len(dependencies), pinned / len(dependencies), ease
    return round(sum(weight * part for weight, part in zip(_WEIGHTS, parts, strict=True)), 4)


def _step(old: str, new: str) -> str:
    before, after = catalogue.parse(old), catalogue.parse(new)
    if not catalogue.compatible(before, after):
        return "major"
    return "minor" if before[:2] != after[:2] else "patch"
