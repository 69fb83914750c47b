"""Whether a stack is live: each question is asked of the running servers, and answered now."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ..engine import Compose
from . import alerts, containers, grafana, prometheus, signals
from .servers import Live
from .verdict import Question, Verdict


def verdicts(live: Live, compose: Compose) -> list[Verdict]:
    """Every question of `up` and `status`, answered now."""
    questions, found = list(_questions(live)), compose.containers()
    # Together: one that hangs until its time is over does not keep the others waiting.
    with ThreadPoolExecutor(len(questions)) as pool:
        return list(pool.map(lambda ask: ask(live, found), questions))


def _questions(live: Live) -> Iterator[Question]:
    yield containers.healthy
    yield prometheus.targets
    yield prometheus.rules
    yield prometheus.configurations
    yield alerts.reached
    yield prometheus.samples
    if live.stack.bundled:
        if live.stack.ships_logs:
            yield signals.logs
        yield signals.traces
    if "grafana" in live.stack.running:
        yield grafana.datasources
    if live.stack.hears_watchdog:
        yield alerts.delivered
