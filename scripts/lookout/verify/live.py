"""Whether a stack is live: each question is asked of the running servers, none of the files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from .. import engine, names
from ..engine import Compose
from .http import CLIENT, get_json
from .polling import NotYet
from .servers import Live, kept_traceparent

FRESH_SECONDS = 60
"""A sample or log line older than this, or than three scrapes, is not live."""

TRACED_SECONDS = 600
"""A trace older than this is not live: of the traffic, one in ten is kept."""

WATCHDOG_SECONDS = 120
"""Watchdog is notified again every minute, at the next quarter of a minute."""


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
    yield "configurations accepted", _configurations
    yield "receivers reached", _given_up
    yield "samples", _samples
    if live.stack.bundled:
        if live.stack.ships_logs:
            yield "logs", _logs
        yield "traces", _traces
    if "grafana" in live.stack.running:
        yield "datasources", _datasources
    if live.stack.hears_watchdog:
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
    for name in live.stack.one_shots:
        state = found[name]["State"] if name in found else {"Status": "not there", "ExitCode": 0}
        if state["Status"] != "exited" or state["ExitCode"]:
            missing.append((name, f"has not done its work: is {state['Status']} (exit code {state['ExitCode']})"))
    total = len(live.stack.containers) + len(live.stack.one_shots)
    return Verdict("containers healthy", total - len(missing), total, tuple(missing))


def _read(live: Live, path: str) -> Any:
    """A file of the project that runs."""
    return yaml.safe_load((live.folder / path).read_text(encoding="utf-8"))


def _expected_targets(live: Live) -> set[tuple[str, str]]:
    """(job, address) of each target that Prometheus was told of."""
    expected: set[tuple[str, str]] = set()
    for job in _read(live, "prometheus/prometheus.yml")["scrape_configs"]:
        groups = list(job.get("static_configs", []))
        for discovery in job.get("file_sd_configs", []):
            for file in discovery["files"]:
                # A file outside the project is written by the stack itself: what stands there is expected by nobody.
                groups += [] if file.startswith("/") else _read(live, f"prometheus/{file}")
        expected |= {(job["job_name"], address) for group in groups for address in group["targets"]}
    return expected


def _targets(live: Live, _found: Containers) -> Verdict:
    targets = [target for target in live.targets() if not _is_discovered(target)]
    missing = [
        (
            target["labels"].get("service", target["labels"]["instance"]),
            f"{target['scrapePool']}: {target['lastError'] or target['health']}",
        )
        for target in targets
        if target["health"] != "up"
    ]
    there = {(target["scrapePool"], target["discoveredLabels"]["__address__"]) for target in targets}
    absent = _expected_targets(live) - there
    missing += [(address, f"{job}: is no target of Prometheus") for job, address in sorted(absent)]
    total = len(targets) + len(absent)
    return Verdict("targets up", total - len(missing), total, tuple(missing))


def _is_discovered(target: Mapping[str, Any]) -> bool:
    found_in = target["discoveredLabels"].get("__meta_filepath", "")
    return str(found_in).startswith(f"{names.DISCOVERED_FOLDER}/")


def discovered(live: Live) -> list[tuple[str, str]]:
    """(service, "up" or why not) of each target that was discovered: told by `status`, and required by nothing."""
    return sorted(
        (target["labels"]["service"], "up" if target["health"] == "up" else target["lastError"] or target["health"])
        for target in live.targets()
        if _is_discovered(target)
    )


def _rules(live: Live, _found: Containers) -> Verdict:
    rules = [rule for group in live.rules() for rule in group["rules"]]
    missing = [
        (rule["name"], rule.get("lastError") or "has not been evaluated yet")
        for rule in rules
        if rule["health"] != "ok"
    ]
    written = {
        rule.get("alert") or rule["record"]
        for path in (live.folder / "prometheus" / "rules").glob("*.rules.yml")
        for group in _read(live, f"prometheus/rules/{path.name}")["groups"]
        for rule in group["rules"]
    }
    absent = sorted(written - {rule["name"] for rule in rules})
    missing += [(name, "is no rule of Prometheus") for name in absent]
    total = len(rules) + len(absent)
    return Verdict("rules evaluated", total - len(missing), total, tuple(missing))


def _configurations(live: Live, _found: Containers) -> Verdict:
    """Whether the servers that read their configuration again took what they read last."""
    wanted = ("prometheus", "alertmanager")
    asked = " or ".join(f'{name}_config_last_reload_successful{{service="{name}"}} == 1' for name in wanted)
    taken = {result["metric"]["service"] for result in live.query(asked)}
    why = "did not accept its configuration; its log says what is wrong"
    missing = tuple((name, why) for name in wanted if name not in taken)
    return Verdict("configurations accepted", len(wanted) - len(missing), len(wanted), missing)


def _samples(live: Live, found: Containers) -> Verdict:
    wanted = [service.name for service in live.stack.services]
    seconds = max(FRESH_SECONDS, 3 * live.stack.scrape.standard.interval.seconds)
    # A bare selector, or timestamp() gives the time of the question.
    results = live.query('max by (service) (timestamp(up{job="services"}) and up{job="services"} == 1)')
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
    sources = {source["uid"] for source in live.grafana("/api/datasources")}
    wanted = _read(live, "grafana/provisioning/datasources/lookout.yaml")["datasources"]
    missing: list[tuple[str, str]] = []
    for source in wanted:
        try:
            if source["uid"] not in sources:
                raise NotYet("Grafana does not have it")
            _ask_datasource(live, source["uid"], source["type"])
        except NotYet as reason:
            missing.append((f"grafana datasource {source['uid']}", str(reason)))
    return Verdict("datasources", len(wanted) - len(missing), len(wanted), tuple(missing))


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


def _alerts(live: Live, found: Containers) -> Verdict:
    since = _since(found, WATCHDOG_SECONDS, "prometheus", "alertmanager", "receiver")
    got = live.notifications(alertname="Watchdog", since=str(since))
    why = f"was not notified of Watchdog, which always fires, in the last {time.time() - since:.0f} s"
    missing = () if got else (("receiver", why),)
    return Verdict("alerts delivered", 1 - len(missing), 1, missing)


def _given_up(live: Live, _found: Containers) -> Verdict:
    """Whether Alertmanager had to give up a notification because a receiver did not take it."""
    failed = "sum by (integration) (increase(alertmanager_notifications_failed_total[2m])) > 0"
    missing = tuple(
        ("alertmanager", f"gave up notifications by {result['metric']['integration']} in the last 2 min")
        for result in live.query(failed)
    )
    return Verdict("receivers reached", 0 if missing else 1, 1, missing)


def firing(live: Live) -> list[str]:
    """Names of the alerts that fire now, but for Watchdog, with their service."""
    alerts = get_json(f"{live.url('prometheus')}/api/v1/alerts")["data"]["alerts"]
    return sorted(
        f"{alert['labels']['alertname']}({alert['labels'].get('service', '-')})"
        for alert in alerts
        if alert["state"] == "firing" and alert["labels"]["alertname"] != "Watchdog"
    )
