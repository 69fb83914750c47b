"""Webhooks of GitHub: signed, once, and turned into work."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from api_gateway.webhooks import GithubWebhook, signature, work_of
from telemetry import Telemetry, Unreachable
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry

SECRET = "It's a Secret to Everybody"
DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
PUSH = {
    "ref": "refs/heads/main",
    "after": "0" * 40,
    "deleted": False,
    "repository": {"full_name": "octo/hello"},
    "commits": [
        {"message": "Fix the the bug", "added": ["web/package.json"], "modified": ["README.md"]},
        {"message": "TODO", "added": [], "modified": ["requirements.txt", "web/package.json", "a b/go.mod"]},
    ],
}
PULL_REQUEST = {"action": "opened", "pull_request": {"number": 7, "title": "A title", "body": None}}
RELEASE = {"action": "published", "release": {"name": "<1.0>", "tag_name": "v1", "body": "All new."}}


class Behind:
    """Redis and automation-services."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.bodies: list[dict[str, Any]] = []
        self.status = 202
        self.away = False
        self.cancelled = False
        self.read_only = False

    async def call(self, command: str, key: str, *arguments: Any) -> str | None:
        if command == "GET":
            return self.keys.get(key)
        if self.read_only:
            raise Unreachable("redis", "refused")
        assert command == "SET"
        assert arguments[1:] == ("EX", 259200)
        self.keys[key] = str(arguments[0])
        return "OK"

    async def send(
        self, upstream: str, method: str, path: str, body: bytes, _headers: dict[str, str]
    ) -> httpx.Response:
        if self.away:
            raise Unreachable(upstream, "refused")
        if self.cancelled:
            raise asyncio.CancelledError
        assert (upstream, method) == ("automation-services", "POST")
        self.bodies.append({**json.loads(body), "asked": path})
        return httpx.Response(self.status, json={"id": json.loads(body)["id"]})


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def telemetry(make_telemetry: MakeTelemetry) -> Telemetry:
    return make_telemetry()


@pytest.fixture
def browser(telemetry: Telemetry, behind: Behind) -> Browser:
    return browser_of(telemetry, behind)


def browser_of(telemetry: Telemetry, behind: Behind) -> Browser:
    webhook = GithubWebhook(telemetry, SECRET, behind, behind.send)  # type: ignore[arg-type]
    return Browser(telemetry.app([Route("/webhooks/github", webhook.receive, methods=["POST"])]))


def post(browser: Browser, event: str, payload: Any, delivery: str = DELIVERY, **headers: str) -> httpx.Response:
    body = json.dumps(payload).encode()
    signed = {"x-hub-signature-256": signature(SECRET, body), "x-github-event": event, "x-github-delivery": delivery}
    return browser.post("/webhooks/github", content=body, headers=signed | headers)


def events(telemetry: Telemetry, event: str, outcome: str) -> float | None:
    labels = {"source": "github", "event": event, "outcome": outcome}
    return telemetry.metrics.registry.get_sample_value("webhook_events_total", labels)


def test_a_push_is_reviewed_and_the_manifests_that_it_changed_are_upgraded(browser: Browser, behind: Behind) -> None:
    answer = post(browser, "push", PUSH)
    assert answer.status_code == 202
    assert answer.json() == {"jobs": [f"github-{DELIVERY}-{number}" for number in range(3)]}
    review, requirements, package = behind.bodies
    assert (review["asked"], review["kind"], review["content"]) == ("/jobs", "review", "Fix the the bug\n\nTODO")
    assert (requirements["asked"], requirements["manifest"]) == ("/upgrades", "requirements.txt")
    assert (package["asked"], package["path"]) == ("/upgrades", "web/package.json")


def test_the_source_of_an_upgrade_is_the_commit_that_was_pushed() -> None:
    assert work_of("push", PUSH)[2][1] == {
        "manifest": "package.json",
        "path": "web/package.json",
        "repository": "octo/hello",
        "ref": "0" * 40,
    }


def test_a_release_is_posted_and_told() -> None:
    post_fetch, digest = work_of("release", RELEASE)
    assert post_fetch[1]["content"] == "<article><h1>&lt;1.0&gt;</h1>All new.</article>"
    assert digest == ("/digests", {"channel": "releases"})


@pytest.mark.parametrize(
    ("event", "payload", "jobs"),
    [
        ("pull_request", PULL_REQUEST, 1),
        ("pull_request", {**PULL_REQUEST, "action": "closed"}, 0),
        ("release", {**RELEASE, "action": "created"}, 0),
        ("push", {**PUSH, "deleted": True}, 0),
        ("push", {**PUSH, "commits": []}, 0),
        ("star", {}, 0),
    ],
)
def test_an_event_asks_for_as_much_work(
    browser: Browser, telemetry: Telemetry, event: str, payload: dict[str, Any], jobs: int
) -> None:
    answer = post(browser, event, payload)
    assert answer.status_code == 202
    assert len(answer.json()["jobs"]) == jobs
    assert events(telemetry, "other" if event == "star" else event, "accepted" if jobs else "ignored") == 1


def test_a_delivery_makes_work_once(browser: Browser, behind: Behind, telemetry: Telemetry) -> None:
    assert post(browser, "pull_request", PULL_REQUEST).status_code == 202
    again = post(browser, "pull_request", PULL_REQUEST)
    assert (again.status_code, again.json()) == (200, {"duplicate": True})
    assert len(behind.bodies) == 1
    assert events(telemetry, "pull_request", "duplicate") == 1
    assert post(browser, "pull_request", PULL_REQUEST, "another-delivery").status_code == 202


@pytest.mark.parametrize(("status", "answered"), [(503, 503), (400, 502)])
def test_a_delivery_whose_work_was_not_accepted_can_be_repeated(
    browser: Browser, behind: Behind, telemetry: Telemetry, status: int, answered: int
) -> None:
    behind.status = status
    assert post(browser, "push", PUSH).status_code == answered
    assert events(telemetry, "push", "failed") == 1
    behind.status, behind.away = 202, True
    assert post(browser, "push", PUSH).status_code == 502
    behind.away = False
    assert post(browser, "push", PUSH).status_code == 202
    assert behind.bodies[0]["id"] == behind.bodies[1]["id"] == f"github-{DELIVERY}-0"


def test_a_delivery_can_be_repeated_where_redis_went_away_after_the_work_was_refused(
    browser: Browser, behind: Behind
) -> None:
    behind.away = behind.read_only = True
    assert post(browser, "push", PUSH).status_code == 502
    behind.away = behind.read_only = False
    assert post(browser, "push", PUSH).status_code == 202
    assert len(behind.bodies) == 3


def test_a_delivery_can_be_repeated_where_the_gateway_ended_before_the_work_was_accepted(
    browser: Browser, behind: Behind
) -> None:
    behind.cancelled = True
    with pytest.raises(asyncio.CancelledError):
        post(browser, "push", PUSH)
    behind.cancelled = False
    assert post(browser, "push", PUSH).status_code == 202
    assert len(behind.bodies) == 3


def test_a_delivery_that_cannot_be_remembered_is_accepted_and_repeats_the_same_ids(
    make_telemetry: MakeTelemetry, behind: Behind, log_lines: LogLines
) -> None:
    browser = browser_of(make_telemetry(), behind)
    behind.read_only = True
    first, second = (post(browser, "pull_request", PULL_REQUEST) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert {body["id"] for body in behind.bodies} == set(first.json()["jobs"])
    assert "delivery is not remembered" in {line["message"] for line in log_lines() if line["level"] == "warning"}


@pytest.mark.parametrize("given", ["", "sha256=" + "0" * 64, "sha1=abc", "ü"])
def test_a_webhook_that_is_not_signed_is_refused_counted_and_logged(
    make_telemetry: MakeTelemetry, behind: Behind, log_lines: LogLines, given: str
) -> None:
    # Not the fixture: what is written goes where stdout was when the telemetry was made.
    telemetry = make_telemetry()
    browser = browser_of(telemetry, behind)
    body = json.dumps(PUSH).encode()
    headers = {b"x-hub-signature-256": given.encode("latin-1"), b"x-github-delivery": DELIVERY.encode()}
    assert browser.post("/webhooks/github", content=body, headers=headers).status_code == 401
    assert (behind.bodies, behind.keys) == ([], {})
    value = telemetry.metrics.registry.get_sample_value
    assert value("webhook_signature_failures_total", {"source": "github"}) == 1
    assert "webhook signature is wrong" in {line["message"] for line in log_lines() if line["level"] == "warning"}


def test_a_ping_is_answered(browser: Browser, behind: Behind) -> None:
    assert post(browser, "ping", {"zen": "Keep it logically awesome."}).json() == {"pong": True}
    assert behind.bodies == []


@pytest.mark.parametrize(
    ("event", "payload", "delivery"),
    [
        ("push", {}, DELIVERY),
        ("push", [], DELIVERY),
        ("push", {**PUSH, "ref": "\x00"}, DELIVERY),
        ("push", {**PUSH, "commits": [{"message": "x"}]}, DELIVERY),
        ("pull_request", {"action": "opened", "pull_request": None}, DELIVERY),
        ("push", PUSH, ""),
        ("push", PUSH, "short"),
    ],
)
def test_a_signed_event_of_the_wrong_shape_is_refused(
    browser: Browser, behind: Behind, event: str, payload: Any, delivery: str
) -> None:
    assert post(browser, event, payload, delivery).status_code == 400
    assert (behind.bodies, behind.keys) == ([], {})
