"""A stack of their own for benchmarks: own name, own free ports, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lookout import images, machine, project
from lookout.errors import Unsatisfied
from lookout.project import Project
from lookout.render import ROOT
from tests.integration.conftest import overlay_of


def quiet(_text: str) -> None:
    """Says nothing: the figures are the output."""


@contextmanager
def running(name: str, within: float = 240) -> Iterator[tuple[Project, Callable[[], None]]]:
    """A live stack, and a function that stops and starts it again until it is live."""
    machine.ensure(quiet)
    folder = ROOT / "build" / "bench"
    overlay = overlay_of(f"lookout-bench-{name}", folder)
    source = images.parse_source(os.environ.get("IMAGES", "auto"))
    ready = project.prepare([ROOT / "stack.yaml", overlay], folder / name, source, False, quiet)

    def up() -> None:
        project.start(ready)
        verdicts = project.wait_until_live(ready, within, quiet)
        if not all(verdict.ok for verdict in verdicts):
            raise Unsatisfied(project.failures(ready, verdicts))

    try:
        yield ready, up
    finally:
        ready.compose.down("--volumes")
