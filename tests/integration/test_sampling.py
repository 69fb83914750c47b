"""Tail sampling: errors always, slow ones always, the rest by its share and no more."""

from __future__ import annotations

import json
import math
import secrets
import time
from typing import Any

import pytest

from lookout import cli, engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.journeys import FAILING, JOURNEYS, Journey, kept_traceparent, travel, unkept_traceparent

pytestmark = pytest.mark.integration

SLOW = Journey("slow chat", "/api/chat", {"message": "Slowly?", "model": "slow"}, 200, ("frontend",))

STRANGER = "stranger"
"""A service that is not of the bundle: it marks no span."""
FAST = 1000
ALLOWED = 5.5
"""Standard deviations of the share that is kept of FAST traces: with 10 %, 48 to 152; chance leaves them 1 in 10⁷."""

SEND = """
import sys, urllib.request
headers = {"Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), headers), timeout=10).read()
"""


def stored(stack: Project, traceparent: str) -> bool:
    """Whether the trace store has the trace now."""
    try:
        return bool(stack.live.trace(traceparent.split("-")[1]))
    except NotYet:
        return False


def wait_stored(stack: Project, traceparents: list[str]) -> None:
    def ask() -> None:
        missing = [one for one in traceparents if not stored(stack, one)]
        if missing:
            raise NotYet(f"{len(missing)} of {len(traceparents)} are not stored, such as {missing[0]}")

    poll_until(ask, "traces in the store", within=60, every=1)


def test_every_failed_request_leaves_its_trace(stack: Project) -> None:
    sent = [unkept_traceparent() for _ in range(10)]
    statuses = {travel(stack, FAILING, {"traceparent": one}).status_code for one in sent}
    assert statuses <= {502, 503}, statuses
    wait_stored(stack, sent)


def test_a_slow_request_leaves_its_trace(stack: Project) -> None:
    sent = unkept_traceparent()
    assert travel(stack, SLOW, {"traceparent": sent}).status_code == SLOW.status
    wait_stored(stack, [sent])


def test_a_request_that_outlasts_the_collectors_decision_leaves_all_of_its_trace(stack: Project) -> None:
    arguments = ["--project", str(stack.folder), "fault", "saga-orchestrator", "delay", "--delay", "12"]
    assert cli.main(arguments) == 0
    order, sent = JOURNEYS[2], unkept_traceparent()
    try:
        answer = travel(stack, order, {"traceparent": sent})
        assert answer.status_code == order.status, answer.text
        assert answer.elapsed.total_seconds() > 12
    finally:
        assert cli.main(["--project", str(stack.folder), "faults", "--clear", "saga-orchestrator"]) == 0

    def whole() -> None:
        services = set(stack.live.trace(sent.split("-")[1]))
        if not set(order.crosses) <= services:
            raise NotYet(f"the trace has only {sorted(services)}")

    poll_until(whole, "the trace with all of its services", within=60, every=1)


def test_fast_requests_outside_the_share_leave_none(stack: Project) -> None:
    quick = JOURNEYS[1]
    unkept = [unkept_traceparent() for _ in range(10)]
    answers = [travel(stack, quick, {"traceparent": one}) for one in unkept]
    slow_anyway = sum(
        answer.elapsed.total_seconds() > stack.stack.traces.keep.slower_than.seconds for answer in answers
    )
    later = kept_traceparent()
    travel(stack, quick, {"traceparent": later})
    wait_stored(stack, [later])  # a trace that began after the others was decided upon, so they were too
    assert sum(stored(stack, one) for one in unkept) <= slow_anyway


def send(stack: Project, count: int, milliseconds: int, failed: bool = False, drawn: bool = False) -> set[str]:
    """Sends the collector traces of one span each, at once, as of a service that has ``drawn`` or not; their ids."""
    ids, now = {secrets.token_hex(16) for _ in range(count)}, time.time_ns()
    spans: list[dict[str, Any]] = [
        {
            "traceId": one,
            "spanId": secrets.token_hex(8),
            "name": "made by hand",
            "startTimeUnixNano": str(now - milliseconds * 1_000_000),
            "endTimeUnixNano": str(now),
            "status": {"code": 2 if failed else 0},
        }
        for one in ids
    ]
    resource = {"service.name": STRANGER, **({"lookout.sampler": "service"} if drawn else {})}
    attributes = [{"key": key, "value": {"stringValue": text}} for key, text in resource.items()]
    body = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}]}
    url = f"http://otel-collector:{stack.stack.port_of('otel-collector')}/v1/traces"
    sender = stack.compose.containers()["traffic"]["Id"]
    done = engine.inside(sender, "python", "-c", SEND, url, stdin=json.dumps(body))
    assert done.returncode == 0, done.stderr
    return ids


def test_the_collector_decides_by_itself_of_traces_that_no_service_marked(stack: Project) -> None:
    keep, since = stack.stack.traces.keep, time.time() - 60
    drawn = send(stack, FAST // 2, 10, drawn=True)
    fast = send(stack, FAST, 10)
    slow = send(stack, 10, 2 * keep.slower_than.milliseconds)
    failed = send(stack, 10, 10, failed=True)  # last of all, so that the others are decided upon when these are stored
    last: set[str] = set()

    def settled() -> set[str]:
        found, before = stack.live.traces(STRANGER, since, 2 * FAST), set(last)
        last.update(found)
        lost = {"slow": len(slow - found), "failed": len(failed - found)}
        if any(lost.values()) or found != before:
            raise NotYet(f"of 10 each are not stored: {lost}; {len(found - before)} traces came just now")
        return found

    found = poll_until(settled, "the traces to be kept in the store", within=60, every=1)
    share, spread = FAST * keep.rest.ratio, math.sqrt(FAST * keep.rest.ratio * (1 - keep.rest.ratio))
    assert abs(len(fast & found) - share) <= ALLOWED * spread, f"{len(fast & found)} of {FAST} fast ones are stored"
    assert not drawn & found, "drawn once more, of those that their service did not draw"
