"""The guard of the gateway on the running stack, and one correlation id through everything that a request touches."""

from __future__ import annotations

import itertools
import json
import uuid

import httpx
import pytest

from api_gateway.limits import CLASSES
from api_gateway.misses import THRESHOLD
from api_gateway.suspicion import MAX_LENGTH, REASONS
from api_gateway.webhooks import signature
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.clients import Asked, ask_as
from tests.integration.journeys import JOURNEYS, Journey, kept_traceparent, travel
from traffic.inputs import EVENTS

pytestmark = pytest.mark.integration


def counted(stack: Project, metric: str, label: str) -> dict[str, float]:
    """A counter of the gateway by one of its labels, as it stands now."""
    text = httpx.get(f"{stack.live.url('api-gateway')}/metrics", timeout=10).text
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith(f"{metric}{{"):
            labels, _, value = line[len(metric) + 1 :].rpartition("} ")
            found[dict(pair.split("=", 1) for pair in labels.split(","))[label].strip('"')] = float(value)
    return found


def test_a_forged_webhook_is_refused_and_counted(stack: Project) -> None:
    before = counted(stack, "webhook_signature_failures_total", "source")["github"]
    body = json.dumps(EVENTS["ping"]).encode()
    url = f"{stack.live.url('api-gateway')}/webhooks/github"
    headers = {
        "x-github-event": "ping",
        "x-github-delivery": str(uuid.uuid4()),
        "content-type": "application/json",
    }
    forged = {"x-hub-signature-256": signature("not the secret", body)}
    assert httpx.post(url, content=body, headers=headers | forged, timeout=20).status_code == 401
    assert httpx.post(url, content=body, headers=headers, timeout=20).status_code == 401
    secret = (stack.folder / "secrets" / "webhook_secret").read_text(encoding="utf-8").strip()
    signed = {"x-hub-signature-256": signature(secret, body)}
    assert httpx.post(url, content=body, headers=headers | signed, timeout=20).status_code in (200, 202)
    assert httpx.post(url, content=body + b" ", headers=headers | signed, timeout=20).status_code == 401
    assert counted(stack, "webhook_signature_failures_total", "source")["github"] >= before + 3


def test_a_client_over_its_limit_is_refused_told_when_and_counted(stack: Project) -> None:
    before = counted(stack, "rate_limited_requests_total", "client_class")["login"]
    limit = CLASSES["login"]
    # Without a password no hash is made: the limit is on the asking. Twice the limit, for a minute may end meanwhile.
    answers = ask_as(stack, "192.0.2.251", [{"method": "POST", "path": "/api/session", "body": "{}"}] * (2 * limit + 1))
    refused = [headers for status, headers in answers if status == 429]
    assert {status for status, _ in answers} == {400, 429}
    assert 1 <= int(refused[0]["retry-after"]) <= 60
    assert (refused[0]["x-ratelimit-limit"], refused[0]["x-ratelimit-remaining"]) == (str(limit), "0")
    assert counted(stack, "rate_limited_requests_total", "client_class")["login"] >= before + len(refused)
    other = ask_as(stack, "192.0.2.252", [{"method": "POST", "path": "/api/session", "body": "{}"}])
    assert other[0][0] == 400


def test_a_stranger_cannot_be_somebody_else_by_a_header(stack: Project) -> None:
    url = f"{stack.live.url('api-gateway')}/api/jobs/none"
    remaining = []
    for number in range(5):
        answer = httpx.get(url, headers={"x-forwarded-for": f"198.51.100.{number}"}, timeout=20)
        remaining.append(int(answer.headers["x-ratelimit-remaining"]))
    # All of one client: less each time, but where a minute ends meanwhile.
    assert sum(later < earlier for earlier, later in itertools.pairwise(remaining)) >= 3, remaining


SUSPICIOUS: dict[str, list[Asked]] = {
    "path_traversal": [{"method": "GET", "path": "/api/%2e%2e/%2e%2e/etc/passwd"}],
    "injection": [{"method": "GET", "path": "/api/records?table=x%27%20OR%20%271%27=%271"}],
    "scanner": [{"method": "GET", "path": "/.env"}],
    "oversized_body": [{"method": "POST", "path": "/api/chat", "body": "x" * 70_000}],
    "oversized_url": [{"method": "GET", "path": f"/api/search?q={'a' * (MAX_LENGTH + 1)}"}],
    "unknown_method": [{"method": "PROPFIND", "path": "/"}],
    "enumeration": [{"method": "GET", "path": f"/api/orders/{number}"} for number in range(2 * THRESHOLD)],
}


@pytest.mark.parametrize("reason", REASONS)
def test_suspicious_use_is_counted_by_its_reason(stack: Project, reason: str) -> None:
    before = counted(stack, "suspicious_requests_total", "reason")[reason]
    address = f"192.0.2.{100 + REASONS.index(reason)}"
    assert all(status < 500 for status, _ in ask_as(stack, address, SUSPICIOUS[reason]))

    def ask() -> None:
        if counted(stack, "suspicious_requests_total", "reason")[reason] <= before:
            raise NotYet(f"{reason} was not counted")

    poll_until(ask, "the count", within=10)

    def logged() -> None:
        query = f'{{project="{stack.stack.project}", service="api-gateway"}} |= `suspicious request` |= `{address}`'
        if not [line for _, line, _ in stack.live.logs(query) if json.loads(line)["reason"] == reason]:
            raise NotYet(f"no line names {address} and {reason}")

    poll_until(logged, "its log line with the client", within=30)


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.name)
def test_a_request_is_followed_by_its_correlation_id_through_all_services_it_touches(
    stack: Project, journey: Journey
) -> None:
    correlation, traceparent = f"it-{uuid.uuid4().hex}", kept_traceparent()
    trace_id = traceparent.split("-")[1]
    answer = travel(stack, journey, {"X-Correlation-ID": correlation, "traceparent": traceparent})
    assert answer.status_code == journey.status, answer.text
    assert answer.headers["x-correlation-id"] == correlation

    def logged() -> None:
        lines = stack.live.logs(
            f'{{project="{stack.stack.project}", service=~".+"}} | correlation_id=`{correlation}`', limit=500
        )
        services = {str(json.loads(line)["service"]) for _, line, _ in lines}
        if not set(journey.crosses) <= services:
            raise NotYet(f"only {sorted(services)} logged it")
        traces = {json.loads(line).get("trace_id") for _, line, _ in lines}
        assert traces <= {trace_id, None}, traces

    poll_until(logged, f"lines of {journey.crosses} with the correlation id", within=45, every=1)

    def traced() -> None:
        spans = stack.live.trace(trace_id)
        if not set(journey.crosses) <= set(spans):
            raise NotYet(f"the trace has only {sorted(spans)}")

    poll_until(traced, f"the trace through {journey.crosses}", within=60, every=1)
