"""Whether the bundled services are seen in logs and traces."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import httpx

from .http import CLIENT
from .servers import Live, kept_traceparent
from .verdict import Containers, Missing, question, since, without

LOGGED_SECONDS = 60
"""A log line older than this is not live."""

TRACED_SECONDS = 600
"""A trace older than this is not live: of the traffic, one in ten is kept."""


@question("logs", of="loki")
def logs(live: Live, found: Containers) -> tuple[int, Missing]:
    """Loki has a log line of each from now."""
    wanted = [service.name for service in live.stack.bundled]
    fresh = {
        name
        for name in wanted
        if live.logs(
            f'{{project="{live.stack.project}", service="{name}"}}',
            time.time() - since(found, LOGGED_SECONDS, name, "loki"),
            limit=1,
        )
    }
    _knock(live, set(wanted) - fresh)
    return without(wanted, fresh, "no fresh log line in Loki")


@question("traces", of="trace store")
def traces(live: Live, found: Containers) -> tuple[int, Missing]:
    """The first trace store has a trace of each from the last minutes."""
    wanted, store = [service.name for service in live.stack.bundled], live.stack.traces.stores[0]
    traced = {name for name in wanted if live.traces(name, since(found, TRACED_SECONDS, name, store))}
    _knock(live, set(wanted) - traced)
    return without(wanted, traced, "no fresh trace in the trace store")


def _knock(live: Live, services: Iterable[str]) -> None:
    """One request to each service that showed nothing: without traffic it has none, and with it one in ten is kept."""
    for name in services:
        url = live.stack.url_of(name)
        if url is not None:
            with contextlib.suppress(httpx.HTTPError):
                CLIENT.get(f"{url}/knock", headers={"traceparent": kept_traceparent()}, timeout=2)
