"""Delay from a fault to its notification: killed and frozen, at random phase, beside default intervals."""

from __future__ import annotations

import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.faults import send

from .stacks import running

Fault = Callable[[Project], AbstractContextManager[float]]

SERVICE = "llm-orchestrator"
REPEATS = 20
DEFAULT_REPEATS = 4
SETTLED_SECONDS = 11
"""A container that ends sooner after its start is brought back later each time by the engine, up to a minute."""

DEFAULTS = {
    "prometheus/prometheus.yml": {
        "scrape_interval: 250ms": "scrape_interval: 15s",
        "scrape_timeout: 250ms": "scrape_timeout: 10s",
    },
    "prometheus/rules/availability.rules.yml": {
        "interval: 125ms": "interval: 15s",
        "[500ms]": "[30s]",
        ">= 204": ">= 3",
    },
    "alertmanager/alertmanager.yml": {"group_wait: 0s": "group_wait: 30s"},
}
"""What a stack with default intervals says instead."""


def measure() -> Iterator[dict[str, Any]]:
    """Seconds from fault to notification, P50 and P95, for each kind of fault; then stopped, with default intervals."""
    with running("delivery") as (stack, up):
        up()
        chance = random.Random(1)
        medians: dict[str, float] = {}
        for kind, fault in (("refused", _kill), ("hanging", _freeze), ("stopped", _stop)):
            delays = [_delay(stack, fault, chance, 30) for _ in range(REPEATS)]
            medians[kind] = statistics.median(delays)
            yield {"fault": kind, "intervals": "critical class", **_figures(delays)}
        _use_defaults(stack)
        delays = [_delay(stack, _stop, chance, 180) for _ in range(DEFAULT_REPEATS)]
        ratio = statistics.median(delays) / medians["stopped"]
        yield {
            "fault": "stopped",
            "intervals": "15 s, 15 s, 30 s",
            **_figures(delays),
            "ratio_of_medians": round(ratio),
        }


@contextmanager
def _kill(stack: Project) -> Iterator[float]:
    """The server is killed; its restart policy brings it back."""
    yield send(stack, SERVICE, signal.SIGKILL)


@contextmanager
def _freeze(stack: Project) -> Iterator[float]:
    """The server hangs until the end of the measurement."""
    began = send(stack, SERVICE, signal.SIGSTOP)
    try:
        yield began
    finally:
        send(stack, SERVICE, signal.SIGCONT)


@contextmanager
def _stop(stack: Project) -> Iterator[float]:
    """The container is killed through the engine, and stays away until the end of the measurement."""
    container = stack.compose.containers()[SERVICE]["Id"]
    began = time.time()
    engine.run("kill", container)
    try:
        yield began
    finally:
        engine.run("start", container)


def _figures(delays: list[float]) -> dict[str, Any]:
    ordered = sorted(delays)
    return {
        "times": len(ordered),
        "p50_seconds": round(statistics.median(ordered), 3),
        "p95_seconds": round(ordered[max(0, -(-95 * len(ordered) // 100) - 1)], 3),
        "max_seconds": round(ordered[-1], 3),
    }


def _delay(stack: Project, fault: Fault, chance: random.Random, within: float) -> float:
    """One fault and its end. Waits until nothing fires before it, and then a random part of a second."""
    poll_until(lambda: _quiet(stack), "no ServiceDown", 240)
    time.sleep(chance.random())  # the phase: a fault falls anywhere between two scrapes
    with fault(stack) as began:
        return poll_until(lambda: _notified(stack, began), "the notification", within, 0.05) - began


def _quiet(stack: Project) -> None:
    if not stack.live.query(f'up{{job="services-live", service="{SERVICE}"}} offset 1m'):
        raise NotYet("it has not been watched for a minute yet")
    if stack.live.query(f'ALERTS{{alertname="ServiceDown", service="{SERVICE}"}}'):
        raise NotYet("it still fires")
    if stack.live.query(f'up{{job="services-live", service="{SERVICE}"}} == 0'):
        raise NotYet("it is not back")
    if time.time() - engine.started(stack.compose.containers()[SERVICE]) < SETTLED_SECONDS:
        raise NotYet("it has only just started")
    notices = stack.live.notifications(alertname="ServiceDown")
    if notices and notices[-1]["status"] == "firing":
        raise NotYet("its end was not notified yet")


def _notified(stack: Project, since: float) -> float:
    for notice in stack.live.notifications(alertname="ServiceDown", status="firing", since=str(since)):
        if any(alert["labels"]["service"] == SERVICE for alert in notice["alerts"]):
            return float(notice["received_at"])
    raise NotYet("not notified")


def _use_defaults(stack: Project) -> None:
    for path, changes in DEFAULTS.items():
        text = (stack.folder / path).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in text, f"{old!r} is not in {path}"
            text = text.replace(old, new)
        (stack.folder / path).write_text(text, encoding="utf-8")
    for server in ("prometheus", "alertmanager"):
        httpx.post(f"{stack.live.url(server)}/-/reload", timeout=10).raise_for_status()
