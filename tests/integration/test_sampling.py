"""Tail sampling: errors always, slow ones always, the rest by its share and no more."""

from __future__ import annotations

import pytest

from lookout import cli
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.journeys import FAILING, JOURNEYS, Journey, kept_traceparent, travel, unkept_traceparent

pytestmark = pytest.mark.integration

SLOW = Journey("slow chat", "/api/chat", {"message": "Slowly?", "model": "slow"}, 200, ("frontend",))


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
