"""The numbers of the overview are right: each panel says what is known from elsewhere, of Grafana where it runs."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest

from lookout import engine
from lookout.project import Project
from lookout.verify import alerts
from lookout.verify.polling import NotYet, poll_until
from tests.integration.dashboards import Series, ask, dashboards, queries
from tests.integration.exposed import Sample, Snapshot, quiet, snapshot
from tests.integration.journeys import FAILING, JOURNEYS, travel

pytestmark = pytest.mark.integration

ROUNDS = 5
WINDOW_SECONDS = 30
"""Of the rates in panels, at least. Prometheus knows an end of it to a scrape: it may be a sixth of it off at both."""

GENEROUS = 3
"""How many times as much the engine may count of a container as its process does of itself, or the other way round."""

CONTAINER = "container_label_com_docker_compose_service"
BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
"""As ``docker stats`` writes them."""

SHOWN = ("error", "critical", "fatal", "panic")
"""Levels of recent errors."""


@dataclass(frozen=True)
class Known:
    """Requests made while there were no others: what the services said of themselves before and after."""

    before: Snapshot
    after: Snapshot
    start: float
    end: float
    """Unix times that all of it lies between, with a scrape on both sides when nothing happened."""

    scrape: float
    """Seconds between two scrapes."""

    failed: str
    answered: str
    """Correlation ids of requests that failed, and of some that did not."""

    def per_second(self, count: float) -> tuple[float, float]:
        """The least and the most that ``rate`` may make of a count: it divides by the time between two scrapes."""
        seconds = self.end - self.start
        return count / seconds * 0.95, count / (seconds - 2 * self.scrape) * 1.05

    def grown(self, service: str, metric: str) -> dict[frozenset[tuple[str, str]], float]:
        """By labels, by how much the series of a metric have grown."""
        before = _values(self.before[service], metric)
        return {labels: value - before.get(labels, 0) for labels, value in _values(self.after[service], metric).items()}

    def requests(self, service: str, status: str = "") -> float:
        """Answers of a service with a status that begins so."""
        grown = self.grown(service, "http_requests_total")
        return sum(count for labels, count in grown.items() if dict(labels)["status"].startswith(status))

    def quantile(self, share: float, *services: str) -> float:
        """Seconds within which that share of the answers of services came, as ``histogram_quantile`` estimates it."""
        buckets: defaultdict[float, float] = defaultdict(float)
        for service in services:
            for labels, count in self.grown(service, "http_request_duration_seconds_bucket").items():
                buckets[float(dict(labels)["le"])] += count
        rank, below, least = share * buckets[math.inf], 0.0, 0.0
        for bound, count in sorted(buckets.items()):
            if count >= rank:
                return least + (bound - least) * (rank - below) / (count - below)
            least, below = bound, count
        raise AssertionError("the last bucket holds all")


def _values(samples: list[Sample], metric: str) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(labels.items()): value for name, labels, value in samples if name == metric}


@pytest.fixture(scope="module")
def known(stack: Project) -> Known:
    """The stack after requests that are known, with a time before and after them without any."""
    scrape = stack.stack.scrape.standard.interval.seconds
    ids = {journey.name: uuid.uuid4().hex for journey in (*JOURNEYS, FAILING)}

    def round_trip() -> None:
        # What fails stands alone, and last: some in a row open a circuit, and one keeps it open.
        for journey in (*JOURNEYS, FAILING):
            answer = travel(stack, journey, {"X-Correlation-ID": ids[journey.name]})
            if answer.status_code != journey.status:
                raise NotYet(f"{journey.name}: HTTP {answer.status_code}: {answer.text[:300]}")

    def scraped_after(moment: float) -> None:
        def ask() -> None:
            (oldest,) = stack.live.query('min(timestamp(up{job="services"}))')
            if float(oldest["value"][1]) <= moment:
                raise NotYet("a scrape is older")

        poll_until(ask, "a scrape of all services", within=60)

    with quiet(stack):
        # A circuit may be open from before. And each series is there before it grows, or Prometheus would not see it.
        poll_until(round_trip, "a round trip with the usual answers", within=60, every=2)
        start = math.ceil(time.time())
        scraped_after(start)
        before = snapshot(stack)
        for _ in range(ROUNDS):
            round_trip()
        after, done = snapshot(stack), time.time()
        scraped_after(done)
        # Grafana asks for moments that are a multiple of the distance between them.
        end = math.ceil(max(time.time(), start + WINDOW_SECONDS) / scrape) * scrape
        scraped_after(end - scrape / 2)
    return Known(before, after, start, end, scrape, ids[FAILING.name], ids[JOURNEYS[0].name])


def shown(stack: Project, title: str, known: Known | None = None, span: float = 60) -> list[Series]:
    """What a panel of one query shows: now, or at the end of what is known."""
    window = known.end - known.start if known else WINDOW_SECONDS
    (query,) = [query for query in queries(stack, window) if query.panel == title]
    return ask(stack, query, known.end if known else None, span)


def by(label: str, found: list[Series]) -> dict[str, float]:
    """The last number of each series, by a label."""
    return {series.labels[label]: series.last for series in found}


def services(stack: Project) -> list[str]:
    return [service.name for service in stack.stack.services]


def test_requests_are_those_that_the_services_counted(stack: Project, known: Known) -> None:
    found = by("service", shown(stack, "Requests by service", known))
    assert found.keys() == set(services(stack))
    for service, rate in found.items():
        least, most = known.per_second(known.requests(service))
        assert 0 < least <= rate <= most, service
    (whole,) = shown(stack, "Requests", known)
    assert whole.last == pytest.approx(sum(found.values()))


def test_errors_are_the_share_that_the_services_answered_with_5xx(stack: Project, known: Known) -> None:
    found = by("service", shown(stack, "Errors by service", known))
    counted = {name: (known.requests(name, "5"), known.requests(name)) for name in services(stack)}
    share = {name: failed / all for name, (failed, all) in counted.items()}
    assert sum(value > 0 for value in share.values()) >= 3, f"no request failed in three services: {share}"
    assert found == pytest.approx(share, rel=0.2)
    failed, all = (sum(column) for column in zip(*counted.values(), strict=True))
    (whole,) = shown(stack, "Errors", known)
    assert whole.last == pytest.approx(failed / all, rel=0.2)


@pytest.mark.parametrize(
    ("title", "share"), [(f"P{percent} latency by service", percent / 100) for percent in (50, 95, 99)]
)
def test_latencies_are_those_of_the_services_own_buckets(
    stack: Project, known: Known, title: str, share: float
) -> None:
    found = by("service", shown(stack, title, known))
    assert found.keys() == set(services(stack))
    for service, seconds in found.items():
        assert_quantile(known, seconds, share, service)


def test_the_latency_of_all_is_that_of_all_buckets(stack: Project, known: Known) -> None:
    (whole,) = shown(stack, "P95 latency", known)
    assert_quantile(known, whole.last, 0.95, *services(stack))


def assert_quantile(known: Known, seconds: float, share: float, *of: str) -> None:
    """A series may weigh a fifth more or less than others: they are scraped at different times."""
    least, most = (known.quantile(1 - (1 - share) * weight, *of) for weight in (1.2, 1 / 1.2))
    assert least <= seconds <= most, f"P{100 * share:g} of {of}: {seconds} s, not from {least} to {most} s"


def test_log_lines_are_as_many_as_were_written(stack: Project, known: Known) -> None:
    bar, query = 15, f'{{project="{stack.stack.project}", service=~"{"|".join(services(stack))}"}}'

    def counted() -> None:
        bars = shown(stack, "Log lines by level", known)
        moments = sorted({at for series in bars for at, _ in series.points})
        if not moments:
            raise NotYet("no bar")
        lines = stack.live.logs(query, since=time.time() - moments[0] + bar, limit=5000)
        written = Counter(json.loads(line)["level"] for at, line, _ in lines if moments[0] - bar < at <= moments[-1])
        drawn = {series.labels["level"]: sum(count for _, count in series.points) for series in bars}
        if drawn != written or written["info"] < ROUNDS:
            raise NotYet(f"{drawn} are drawn, {dict(written)} were written")

    poll_until(counted, "all lines in bars", within=30, every=1)


def test_recent_errors_are_those_of_requests_that_failed_and_no_others(stack: Project, known: Known) -> None:
    def failed() -> list[str]:
        lines = [line for series in shown(stack, "Recent errors", span=300) for _, line in series.lines]
        if not any(known.failed in line for line in lines):
            raise NotYet(f"{len(lines)} lines, none of them of {known.failed}")
        return lines

    lines = poll_until(failed, "the error in the panel", within=30, every=1)
    assert {json.loads(line)["level"] for line in lines} <= set(SHOWN)
    assert not [line for line in lines if known.answered in line]


def test_memory_is_that_which_the_engine_says_of_each_container(stack: Project) -> None:
    containers = {name: one["Id"] for name, one in stack.compose.containers().items() if one["State"]["Running"]}

    def shown_of_each() -> dict[str, float]:
        found = by(CONTAINER, shown(stack, "Memory by container"))
        if found.keys() != containers.keys():
            raise NotYet(f"not those that run: {sorted(found.keys() ^ containers.keys())}")
        return found

    found = poll_until(shown_of_each, "a scrape of each container", within=60, every=2)
    said = engine.run("stats", "--no-stream", "--format", "{{.Container}} {{.MemUsage}}", *containers.values()).stdout
    used = {id: float(number) * BYTES[unit] for id, number, unit in re.findall(r"(\w+) ([\d.]+)([KMG]?i?B) /", said)}
    wrong = {name: (found[name], used[id]) for name, id in containers.items() if not alike(found[name], used[id])}
    assert not wrong, f"bytes of the panel and of the engine: {wrong}"


def test_processor_time_is_that_which_the_process_in_each_container_counts(stack: Project) -> None:
    running = {name for name, one in stack.compose.containers().items() if one["State"]["Running"]}

    def compared() -> None:
        found = by(CONTAINER, shown(stack, "CPU by container"))
        own = stack.live.query('rate(process_cpu_seconds_total{job="services"}[2m])')
        cores = {result["metric"]["service"]: float(result["value"][1]) for result in own}
        if found.keys() != running or not set(services(stack)) <= cores.keys():
            raise NotYet(f"not those that run: {sorted(found.keys() ^ running)}")
        # The start of a process weighs more than all after it, and may be in one of the windows alone.
        wrong = {name: (found[name], cores[name]) for name in services(stack) if not alike(found[name], cores[name])}
        if wrong:
            raise NotYet(f"cores of the panel and of the service: {wrong}")

    poll_until(compared, "the same cores from both", within=180, every=2)


def alike(one: float, other: float) -> bool:
    return other / GENEROUS < one < other * GENEROUS


def test_a_service_that_is_gone_is_seen_among_the_services_the_targets_and_the_alerts(stack: Project) -> None:
    poll_until(lambda: now_is_right(stack, 0), "the panels of a stack that is well", within=60)
    container = stack.compose.containers()["frontend"]["Id"]
    engine.run("kill", container)
    try:
        poll_until(lambda: now_is_right(stack, 1), "the panels without the frontend", within=90)
    finally:
        engine.run("start", container)


def now_is_right(stack: Project, gone: int) -> None:
    """Raises NotYet unless the panels of what is now say so: how many are gone, each target, each alert."""
    up, all = (ask(stack, query)[0].last for query in queries(stack) if query.panel == "Services up")
    if (up, all) != (len(services(stack)) - gone, len(services(stack))):
        raise NotYet(f"{up:g} of {all:g} services are up")
    rows = [
        (one.labels["job"], one.labels["instance"], "up" if one.last else "down") for one in shown(stack, "Targets")
    ]
    targets = [(one["labels"]["job"], one["labels"]["instance"], one["health"]) for one in stack.live.targets()]
    if sorted(rows) != sorted(targets):
        raise NotYet(f"targets differ: {set(rows) ^ set(targets)}")
    if sum(state == "down" for *_, state in rows) < gone:
        raise NotYet("no target is down")
    firing = alerts.firing(stack.live)
    (count,) = shown(stack, "Alerts firing")
    marks = [mark["expr"] for dashboard in dashboards(stack) for mark in dashboard["annotations"]["list"]]
    drawn = [found for mark in marks for found in stack.live.query(mark)]
    if not len(firing) == count.last == len(drawn) >= gone:
        raise NotYet(f"{count.last:g} alerts in the panel, {len(drawn)} marks, in Prometheus {firing}")
