"""Time to render and to check offline, for 8, 100 and 1,000 services."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lookout import checks, images, machine
from lookout.model import Stack, load
from lookout.render import ROOT, render
from lookout.write import write


def with_services(stack: Stack, count: int) -> Stack:
    """The model with so many services: the eight, and others outside the bundle."""
    others = [
        {"name": f"service-{number}", "address": f"service-{number}.internal:9400", "owner": "load"}
        for number in range(count - len(stack.services))
    ]
    model = stack.model_dump(by_alias=True)
    return Stack.model_validate({**model, "services": [*model["services"], *others]})


def measure() -> Iterator[dict[str, Any]]:
    """Seconds of `render` (with writing) and of `check` for each size of the model."""
    machine.ensure(lambda _text: None)
    stack = load([ROOT / "stack.yaml"])
    for count in (8, 100, 1000):
        model = with_services(stack, count)
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            files = render(model)
            write(files, Path(folder))
            rendered = time.monotonic() - started
        chosen = images.effective(model, "auto", False, lambda _text: None)
        started = time.monotonic()
        report = checks.run_all(model, chosen, files, lambda _text: None)
        yield {
            "services": count,
            "render_seconds": round(rendered, 2),
            "check_seconds": round(time.monotonic() - started, 2),
            "findings": len(report.findings),
        }
