"""Whether a stack is live: each question is asked of the running servers, none of the files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from .. import engine, names
from ..engine import Compose
from .http import CLIENT, get_json
from .polling import NotYet
from .servers import Live, kept_traceparent

FRESH_SECONDS = 60
"""A sample or log line older than this, or than three scrapes, is not live."""

TRACED_SECONDS = 600
"""A trace older than this is not live: of the traffic, one in ten is kept."""

WATCHDOG_SECONDS = 420
"""Watchdog is notified again every 5 minutes, at the next minute of its group."""


@dataclass(frozen=True)
class Verdict:
    """The answer to one question: what was asked, how many of how many, and what is missing."""

    what: str
    good: int
    of: int
    missing: tuple[tuple[str, str], ...] = ()
    """(container or object, why) for each that falls short."""

    @property
    def ok(self) -> bool:
        """Nothing is missing, and something was there to be asked."""
        return self.good == self.of and self.of > 0

    def __str__(self) -> str:
        return f"{self.what} {self.good} of {self.of}"


def verdicts(live: Live, compose: Compose) -> list[Verdict]:
    """Every question of `up` and `status`, answered now."""
    questions, found = list(_questions(live)), compose.containers()
    # Together: one that hangs until its time is over does not keep the others waiting.
    with ThreadPoolExecutor(len(questions)) as pool:
        return list(pool.map(lambda asked: _answered(asked[0], asked[1], live, found), questions))


def _knock(live: Live, services: Iterable[str]) -> None:
    """One request to each service that showed nothing: without traffic it has none, and with it one in ten is kept."""
    for name in services:
        url = live.stack.url_of(name)
        if url is not None:
            with contextlib.suppress(httpx.HTTPError):
                CLIENT.get(f"{url}/knock", headers={"traceparent": kept_traceparent()}, timeout=2)


Containers = Mapping[str, Mapping[str, Any]]
"""What the engine says of each container, by name."""

Question = Callable[[Live, Containers], Verdict]


def _questions(live: Live) -> Iterator[tuple[str, Question]]:
    yield "containers healthy", _containers
    yield "targets up", _targets
    yield "rules evaluated", _rules
    yield "samples", _samples
    if live.stack.bundled:
        if live.stack.ships_logs:
            yield "logs", _logs
        yield "traces", _traces
    if "grafana" in live.stack.running:
        yield "datasources", _datasources
    yield "alerts delivered", _alerts


def _answered(what: str, question: Question, live: Live, found: Containers) -> Verdict:
    try:
        return question(live, found)
    except NotYet as reason:
        return Verdict(what, 0, 1, ((_server_of(what), str(reason)),))


def _server_of(what: str) -> str:
    """The server that a question is asked of, to be named when it does not answer."""
    return {
        "logs": "loki", "traces": "trace store", "datasources": "grafana", "alerts delivered": "receiver",
        "containers healthy": "engine",
    }.get(what, "prometheus")  # fmt: skip


def _since(found: Containers, seconds: float, *names: str) -> float:
    """Unix time from which on something is live: so long ago, or since the last start of what it came through."""
    return max(time.time() - seconds, *(engine.started(found[name]) for name in names if name in found))


def _containers(live: Live, found: Containers) -> Verdict:
    missing: list[tuple[str, str]] = []
    for name in live.stack.containers:
        container = found.get(name)
        if container is None:
            missing.append((name, "has no container"))
            continue
        state = container["State"]
        health = state.get("Health", {}).get("Status", "has no health check")
        if state["Status"] != "running":
            missing.append((name, f"is {state['Status']} (exit code {state['ExitCode']})"))
        elif health != "healthy":
            log = state.get("Health", {}).get("Log") or [{"Output": ""}]
            missing.append((name, f"is {health} {log[-1]['Output'].strip()}".strip()))
    total = len(live.stack.containers)
    return Verdict("containers healthy", total - len(missing), total, tuple(missing))


def _expected_targets(live: Live) -> set[str]:
    running = live.stack.running
    expected = {service.name for service in live.stack.services}
    return expected | {name for name, server in running.items() if server.metrics}


def _targets(live: Live, _found: Containers) -> Verdict:
    targets = live.targets()
    missing = [
        (
            target["labels"].get("service", target["labels"]["instance"]),
            f"{target['scrapePool']}: {target['lastError'] or target['health']}",
        )
        for target in targets
        if target["health"] != "up"
    ]
    absent = _expected_targets(live) - {target["labels"].get("service") for target in targets}
    missing += [(name, "is no target of Prometheus") for name in sorted(absent)]
    total = len(targets) + len(absent)
    return Verdict("targets up", total - len(missing), total, tuple(missing))


def _rules(live: Live, _found: Containers) -> Verdict:
    rules = [rule for group in live.rules() for rule in group["rules"]]
    missing = [
        (rule["name"], rule.get("lastError") or "has not been evaluated yet")
        for rule in rules
        if rule["health"] != "ok"
    ]
    return Verdict("rules evaluated", len(rules) - len(missing), len(rules), tuple(missing))


def _samples(live: Live, found: Containers) -> Verdict:
    wanted = [service.name for service in live.stack.services]
    seconds = max(FRESH_SECONDS, 3 * live.stack.scrape.standard.interval.seconds)
    results = live.query('max by (service) (timestamp(up{job="services"} == 1))')
    times = {result["metric"]["service"]: float(result["value"][1]) for result in results}
    fresh = {name for name, at in times.items() if at > _since(found, seconds, name, "prometheus")}
    return _per_service("samples", wanted, fresh, "no fresh sample in Prometheus")


def _logs(live: Live, found: Containers) -> Verdict:
    wanted = [service.name for service in live.stack.bundled]
    fresh = {
        name
        for name in wanted
        if live.logs(
            f'{{project="{live.stack.project}", service="{name}"}}',
            time.time() - _since(found, FRESH_SECONDS, name, "loki"),
            limit=1,
        )
    }
    _knock(live, set(wanted) - fresh)
    return _per_service("logs", wanted, fresh, "no fresh log line in Loki")


def _traces(live: Live, found: Containers) -> Verdict:
    wanted, store = [service.name for service in live.stack.bundled], live.stack.traces.stores[0]
    traced = {name for name in wanted if live.traced(name, _since(found, TRACED_SECONDS, name, store))}
    _knock(live, set(wanted) - traced)
    return _per_service("traces", wanted, traced, "no fresh trace in the trace store")


def _per_service(what: str, wanted: list[str], found: set[str], why: str) -> Verdict:
    missing = tuple((name, why) for name in wanted if name not in found)
    return Verdict(what, len(wanted) - len(missing), len(wanted), missing)


def _datasources(live: Live, _found: Containers) -> Verdict:
    ours = {names.UID_PROMETHEUS, names.UID_LOKI, names.UID_TEMPO, names.UID_JAEGER, names.UID_ALERTMANAGER}
    sources = [source for source in live.grafana("/api/datasources") if source["uid"] in ours]
    missing: list[tuple[str, str]] = []
    for source in sources:
        try:
            _ask_datasource(live, source["uid"], source["type"])
        except NotYet as reason:
            missing.append((f"grafana datasource {source['uid']}", str(reason)))
    return Verdict("datasources", len(sources) - len(missing), len(sources), tuple(missing))


def _ask_datasource(live: Live, uid: str, kind: str) -> None:
    """Asks through Grafana's own proxy, so that its address and network are what is tried."""
    paths = {
        "prometheus": "/api/v1/query?query=1",
        "loki": "/loki/api/v1/labels",
        "tempo": "/api/search/tags",
        "jaeger": "/api/services",
        "alertmanager": "/api/v2/status",
    }
    live.grafana(f"/api/datasources/proxy/uid/{uid}{paths[kind]}")


def _alerts(live: Live, _found: Containers) -> Verdict:
    got = live.notifications(alertname="Watchdog", since=str(time.time() - WATCHDOG_SECONDS))
    why = f"was not notified of Watchdog, which always fires, in the last {WATCHDOG_SECONDS} s"
    missing = () if got else (("receiver", why),)
    return Verdict("alerts delivered", 1 - len(missing), 1, missing)


def firing(live: Live) -> list[str]:
    """Names of the alerts that fire now, but for Watchdog, with their service."""
    alerts = get_json(f"{live.url('prometheus')}/api/v1/alerts")["data"]["alerts"]
    return sorted(
        f"{alert['labels']['alertname']}({alert['labels'].get('service', '-')})"
        for alert in alerts
        if alert["state"] == "firing" and alert["labels"]["alertname"] != "Watchdog"
    )
