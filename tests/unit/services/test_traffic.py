"""Visits: drawn by a seed, at a rate that follows the day, each step of each visitor within reach."""

import asyncio
import inspect
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api_gateway.suspicion import suspicion
from api_gateway.webhooks import signature
from frontend.events import ERROR_KINDS, USER_EVENTS, validate
from tests.unit.services.helpers import MakeTelemetry
from traffic.app import build
from traffic.curve import SWING, factor
from traffic.inputs import SCANNED
from traffic.journey import Journey
from traffic.site import Site, accounts
from traffic.visitors import REQUESTS, VISITORS, plan

SECRET = "the secret of the webhooks"
ID = "0" * 32
HOUR = 3600.0
STEPS = {step for visitor in VISITORS for step in visitor.steps}
BESIDE_STEPS = {"run", "_think", "_happens", "_ask", "_ask_model", "_deliver", "_report", "_log_in"}


class Visited:
    """A site that answers everything as a healthy stack does, but for ``answers``, and remembers what it was asked."""

    def __init__(self, seed: int = 1) -> None:
        self.asked: list[httpx.Request] = []
        self.answers: dict[tuple[str, str], int] = {}
        self.outcomes: Counter[tuple[str, str]] = Counter()
        transport = httpx.MockTransport(self._answer)
        self.frontend = httpx.AsyncClient(transport=transport, base_url="http://frontend")
        self.gateway = httpx.AsyncClient(transport=transport, base_url="http://gateway")
        self.site = Site(self.frontend, self.gateway, SECRET, accounts(seed), self._count)

    def _count(self, step: str, outcome: str) -> None:
        self.outcomes[step, outcome] += 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status = self.answers.get((request.method, request.url.path), 201 if request.method == "POST" else 200)
        return httpx.Response(status, json={"id": ID, "token": "a-token"})


@pytest.fixture(autouse=True)
def _logs(make_telemetry: MakeTelemetry) -> None:
    """Log lines go where this test can write."""
    make_telemetry()


def travelled(seed: int, first: int, count: int) -> Visited:
    """Visits one after the other, without waiting."""
    visited = Visited(seed)

    async def travel() -> None:
        for number in range(first, first + count):
            await Journey(visited.site, plan(seed, number), patience=1e-6).run()

    asyncio.run(travel())
    return visited


def test_every_step_of_a_visitor_is_a_method_and_every_method_a_step_of_a_visitor() -> None:
    methods = {name for name, _ in inspect.getmembers(Journey, inspect.iscoroutinefunction)} - BESIDE_STEPS
    assert methods == {f"_{step}" for step in STEPS}
    assert set(REQUESTS) <= STEPS


def test_the_first_round_takes_every_step_of_every_visitor_once() -> None:
    first = [plan(7, number) for number in range(len(VISITORS))]
    assert [(visit.visitor, visit.steps) for visit in first] == [(kind, tuple(kind.steps)) for kind in VISITORS]


def test_the_first_round_is_over_in_a_minute_and_a_half_at_the_quietest_hour() -> None:
    rate, quietest = 3, 1 - SWING
    first = [plan(1, number) for number in range(len(VISITORS))]
    arrived = sum(visit.requests for visit in first[:-1]) * 1.5 / (rate * quietest)
    longest = max(len(visit.steps) * visit.visitor.think for visit in first)
    assert arrived + longest < 90


def test_a_seed_gives_the_same_visits_again_and_another_seed_others() -> None:
    def shape(seed: int) -> list[tuple[str, str, tuple[str, ...]]]:
        return [(v.visitor.name, v.address, v.steps) for v in (plan(seed, number) for number in range(100))]

    def asked(seed: int) -> list[tuple[str, str]]:
        return [(request.method, str(request.url)) for request in travelled(seed, 20, 20).asked]

    assert shape(1) == shape(1)
    assert shape(1) != shape(2)
    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_visits_make_about_as_many_requests_as_they_are_planned_for() -> None:
    planned = sum(plan(1, number).requests for number in range(300))
    assert len(travelled(1, 0, 300).asked) == pytest.approx(planned, rel=0.15)


def test_visitors_come_in_proportion_to_their_weights() -> None:
    came = Counter(plan(3, number).visitor.name for number in range(100, 5100))
    total = sum(visitor.weight for visitor in VISITORS)
    for visitor in VISITORS:
        assert came[visitor.name] / 5000 == pytest.approx(visitor.weight / total, abs=0.02)


def test_few_requests_are_meant_to_end_with_a_server_error() -> None:
    steps = Counter(itertools.chain(*(plan(5, number).steps for number in range(10, 5010))))
    chats = sum(count for step, count in steps.items() if step.startswith("chat"))
    assert 0 < steps["chat_unavailable"] / chats < 0.02


def test_the_curve_has_its_peak_at_the_hour_and_the_mean_of_one() -> None:
    hours = [factor(hour * HOUR, 15) for hour in range(24)]
    assert max(hours) == hours[15] == pytest.approx(1 + SWING)
    assert min(hours) == hours[3] == pytest.approx(1 - SWING)
    assert sum(hours) / 24 == pytest.approx(1)
    assert factor(86400 * 20000 + 15 * HOUR, 15) == pytest.approx(1 + SWING)
    assert {factor(hour * HOUR, None) for hour in range(24)} == {1.0}


def test_a_visit_is_one_visit_from_one_address_with_a_request_id_for_each_request() -> None:
    visited = Visited()

    async def travel() -> None:
        await Journey(visited.site, plan(1, 1), patience=1e-6).run()

    asyncio.run(travel())
    assert len({request.headers["x-forwarded-for"] for request in visited.asked}) == 1
    reports = [request for request in visited.asked if request.url.path == "/events"]
    assert len(reports) == 1
    assert {request.url.host for request in visited.asked} == {"frontend"}


def test_members_log_in_and_are_known_by_their_token() -> None:
    visited = travelled(1, VISITORS.index(next(kind for kind in VISITORS if kind.name == "member")), 1)
    logins = [request for request in visited.asked if (request.method, request.url.path) == ("POST", "/api/session")]
    later = [request for request in visited.asked if request.url.path == "/api/orders"]
    assert logins
    assert {request.headers["authorization"] for request in later} == {"Bearer a-token"}


@pytest.mark.parametrize(("status", "outcome"), [(200, "expected"), (410, "expected"), (404, "unexpected")])
def test_the_state_of_a_job_may_be_that_its_result_made_room_for_others(status: int, outcome: str) -> None:
    visited = Visited()
    visited.answers = {("POST", "/api/jobs"): 202, ("GET", f"/api/jobs/{ID}"): status}
    visit = replace(plan(1, VISITORS.index(next(kind for kind in VISITORS if kind.name == "operator"))), steps=("job",))
    asyncio.run(Journey(visited.site, visit, patience=1e-6).run())
    assert {asked: count for asked, count in visited.outcomes.items() if asked[0] == "job_state"} == {
        ("job_state", outcome): 1
    }


def test_webhooks_are_signed_with_the_secret_and_forged_ones_are_not() -> None:
    visited = travelled(1, VISITORS.index(next(kind for kind in VISITORS if kind.name == "github")), 1)
    right = [
        request.headers["x-hub-signature-256"] == signature(SECRET, request.content)
        for request in visited.asked
        if request.url.path == "/webhooks/github"
    ]
    assert right == [True, False]
    assert {request.url.host for request in visited.asked} == {"gateway"}


def test_a_scan_meets_every_reason_that_a_request_line_can_have() -> None:
    def reason(method: str, path: str, agent: str) -> str | None:
        url = httpx.URL("http://gateway" + path)
        return suspicion(method, url.path, url.query.decode(), agent)

    reasons = [reason(*scanned) for scanned in SCANNED]
    assert None not in reasons
    assert set(reasons) == {"path_traversal", "scanner", "injection", "oversized_url", "unknown_method"}


def test_what_browsers_of_the_traffic_report_is_what_the_page_reports() -> None:
    reports = [json.loads(r.content) for r in travelled(1, 0, 60).asked if r.url.path == "/events"]
    events = [event for report in reports for event in report["events"]]
    for event in events:
        validate(event)
    assert {event["event"] for event in events if event["type"] == "user"} == set(USER_EVENTS)
    assert {event["kind"] for event in events if event["type"] == "error"} >= set(ERROR_KINDS) - {"api"}
    assert max(len(report["events"]) for report in reports) <= 50


@pytest.mark.parametrize(("rate", "peak"), [("0", ""), ("0.5", "3"), ("500", "")])
def test_the_generator_is_built_from_its_settings(
    make_telemetry: MakeTelemetry, tmp_path: Path, rate: str, peak: str
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    telemetry = make_telemetry(
        UPSTREAM_FRONTEND="http://frontend:1",
        UPSTREAM_API_GATEWAY="http://api-gateway:1",
        WEBHOOK_SECRET_FILE=str(tmp_path / "secret"),
        TRAFFIC_RATE=rate,
        TRAFFIC_SEED="1",
        TRAFFIC_PEAK_HOUR=peak,
    )
    build(telemetry)
    names = {metric.name for metric in telemetry.metrics.registry.collect()}
    assert {"traffic_requests", "traffic_visits", "traffic_visits_under_way"} <= names
