"""What every check gets and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import engine
from ..images import SUPPLY, Effective
from ..model import Stack


@dataclass(frozen=True)
class Finding:
    """One thing wrong: where, which check says so, and what it says."""

    check: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: [{self.check}] {self.what}"


@dataclass(frozen=True)
class Skipped:
    """A check that could not be made, and why."""

    check: str
    why: str


@dataclass(frozen=True)
class Context:
    """The model, this machine's images, the rendered bundle as text and in a folder, and what is committed.

    ``here`` has the folders that are others where this machine has other trace stores than the model.
    """

    stack: Stack
    chosen: Effective
    files: dict[str, str]
    folder: Path
    committed: Mapping[str, str] | None
    name: str = "rendered"
    here: Context | None = None

    def tool(
        self, check: str, image: str, entrypoint: str, arguments: Sequence[str], subfolder: str, inside: str
    ) -> Iterator[Finding | Skipped]:
        """Runs a tool on a rendered folder: a Finding when it does not end with 0, Skipped when it cannot be run."""
        bundles = [bundle for bundle in (self, self.here) if bundle is not None and bundle._has(subfolder)]
        if not bundles:
            yield Skipped(check, f"no server runs from the image {image}, by the model or on this machine")
            return
        use = self.chosen.images.get(image)
        if use is None:
            why = next((choice.why for choice in self.chosen.choices if choice.name == image), "it cannot be had")
            yield Skipped(check, f"there is no image {image}: {why}; {SUPPLY}")
            return
        for bundle in bundles:
            mounts = {bundle.folder / subfolder: inside}
            done = engine.tool(use.reference, entrypoint, arguments, mounts, workdir=inside)
            if done.returncode != 0:
                words = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-20:])
                where = f"{bundle.name}/{subfolder}"
                yield Finding(check, where, f"{entrypoint} {' '.join(arguments)}:\n  {words}")

    def _has(self, subfolder: str) -> bool:
        return any(path.startswith(f"{subfolder}/") for path in self.files)
