"""Time from nothing but the package registries to live: local images removed, Go's caches empty."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from lookout import engine, images, machine
from lookout.model import load
from lookout.render import ROOT

from .stacks import quiet, running


def measure() -> Iterator[dict[str, Any]]:
    """Seconds of each local image, of all, and to live. Removes the local images that this machine has."""
    machine.ensure(quiet)
    stack = load([ROOT / "stack.yaml"])
    for name in {image.recipe for image in stack.images.values() if image.recipe}:
        if there := images.built(stack, name, "local"):
            engine.run("rmi", "--force", there)
    caches = Path(tempfile.mkdtemp())
    built: dict[str, float] = {}
    last = started = time.monotonic()

    def say(text: str) -> None:
        nonlocal last
        if ": built as " in text:
            built[text.partition(":")[0]] = round(time.monotonic() - last)
            last = time.monotonic()

    with mock.patch.dict(os.environ, {"GOCACHE": f"{caches}/build", "GOMODCACHE": f"{caches}/modules"}):
        images.effective(stack, "local", False, say)
    seconds = time.monotonic() - started
    shutil.rmtree(caches, onerror=_writable)
    yield {"what": "local images", "seconds": round(seconds), "by_image_seconds": built}
    with mock.patch.dict(os.environ, {"IMAGES": "local"}), running("cold") as (_, up):
        started = time.monotonic()
        up()
        yield {"what": "first up of them", "seconds": round(time.monotonic() - started, 1)}


def _writable(remove: Any, path: str, _error: Any) -> None:
    """Go keeps its modules in folders that nobody may write to."""
    Path(path).parent.chmod(0o700)
    Path(path).chmod(0o700)
    remove(path)
