"""Offline checks: one module and one page each, discovered here.

A missing tool never passes: where the image that has it cannot be had, the check is skipped by name, and not counted.

A module ``checks/<id>.py`` has a function ``check(context)`` that yields a Finding for each thing that is wrong,
and ``checks/<id>.md`` says what it looks for, why, and how to mend it.
"""

from __future__ import annotations

import importlib
import pkgutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..images import Effective
from ..model import Stack
from ..render import render, render_folder
from ..write import write
from .base import Context, Finding, Skipped

OF_THE_STORES: Final = ("collector", "jaeger")
"""Folders that say where traces go, and how they are kept."""


@dataclass
class Report:
    """What the checks found, and what could not be checked for a named reason."""

    findings: list[Finding]
    skipped: list[Skipped]
    ran: int

    @property
    def ok(self) -> bool:
        """Nothing was found, and something was checked."""
        return not self.findings and self.ran > 0

    def summary(self) -> str:
        """Findings, skips and counts, as `make check` prints them."""
        lines = [str(finding) for finding in self.findings]
        lines += [f"skipped: [{skip.check}] {skip.why}" for skip in self.skipped]
        lines.append(f"checks     {self.ran} ran · {len(self.findings)} findings · {len(self.skipped)} skipped")
        return "\n".join(lines)


def discovered() -> dict[str, Callable[[Context], Iterator[Finding | Skipped]]]:
    """Every check by its ID: the modules of this package that have a ``check``."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {
        module.__name__.rpartition(".")[2].replace("_", "-"): module.check
        for module in modules
        if hasattr(module, "check")
    }


def run_all(
    stack: Stack,
    chosen: Effective,
    committed: Mapping[str, str] | None,
    say: Callable[[str], None],
    only: str | None = None,
) -> Report:
    """Runs every check (or one) on the full bundle, with the tools of the images that this machine has."""
    report = Report([], [], 0)
    with tempfile.TemporaryDirectory(prefix="lookout-check-") as scratch:
        # To a rootless engine, who runs the tools is another user of this machine than we are.
        Path(scratch).chmod(0o755)
        folder = Path(scratch, "rendered")
        files = render(stack)
        write(files, folder)
        context = Context(stack, chosen, files, folder, committed, here=_here(stack, chosen, Path(scratch, "here")))
        for identity, check in sorted(discovered().items()):
            if only not in (None, identity):
                continue
            say(f"check      {identity}")
            results = list(check(context))
            report.skipped += [result for result in results if isinstance(result, Skipped)]
            report.findings += [result for result in results if isinstance(result, Finding)]
            report.ran += not any(isinstance(result, Skipped) for result in results)
    return report


def _here(stack: Stack, chosen: Effective, folder: Path) -> Context | None:
    """What is to be checked besides where this machine has other trace stores than the model."""
    if chosen.stack.traces.stores == stack.traces.stores:
        return None
    files: dict[str, str] = {}
    for name in OF_THE_STORES:
        files |= render_folder(chosen.stack, chosen.images, name)
    write(files, folder)
    return Context(chosen.stack, chosen, files, folder, None, name="build/project")
