"""Warm time from `up` to live, and the memory of every container at rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from lookout import engine
from lookout.model import Size
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until

from .stacks import running

REST_SECONDS = 60
"""Memory is read when every container has run for so long."""


def measure() -> Iterator[dict[str, Any]]:
    """Seconds from nothing to live, images in the store, with empty and with kept volumes; then memory."""
    with running("up") as (stack, up):
        started = time.monotonic()
        up()
        yield {"what": "warm up, empty volumes", "seconds": round(time.monotonic() - started, 1)}
        stack.compose.down()
        started = time.monotonic()
        up()
        yield {"what": "warm up, kept volumes", "seconds": round(time.monotonic() - started, 1)}
        poll_until(lambda: _at_rest(stack), "containers at rest", 4 * REST_SECONDS, 1)
        yield memory(stack)


def _at_rest(stack: Project) -> None:
    youngest = max(engine.started(found) for found in stack.compose.containers().values())
    if time.time() - youngest < REST_SECONDS:
        raise NotYet(f"the youngest started {time.time() - youngest:.0f} s ago")


def memory(stack: Project) -> dict[str, Any]:
    """MiB of each container as the engine counts them (working set), and their sum."""
    containers = {found["Id"]: name for name, found in stack.compose.containers().items() if found["State"]["Running"]}
    lines = engine.run("stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}", *containers).stdout
    used = {}
    for line in lines.splitlines():
        identity, amount = line.split()[:2]
        used[containers[identity]] = _mebibytes(amount)
    return {
        "what": "memory at rest",
        "containers": len(used),
        "sum_mib": round(sum(used.values())),
        "by_container_mib": dict(sorted(used.items(), key=lambda item: -item[1])),
    }


def _mebibytes(amount: str) -> float:
    if amount.endswith("KiB"):
        return round(float(amount[:-3]) / 1024, 1)
    number, unit = float(amount[:-3]), amount[-3:]
    return round(number * Size(f"1{unit}").mebibytes, 1)
