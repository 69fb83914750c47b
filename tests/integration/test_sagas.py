"""A saga comes to its end, also without the orchestrator that began it; an order is refunded once."""

from __future__ import annotations

import signal
import threading
import uuid
from contextlib import suppress
from typing import Any

import httpx
import pytest

from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.servers import kept_trace_id, kept_traceparent
from tests.faults import send
from tests.integration.load import AUTOMATION, healthy, metric

pytestmark = pytest.mark.integration


def test_a_saga_is_gone_on_with_after_its_orchestrator_was_killed(stack: Project) -> None:
    for service in ("saga-orchestrator", AUTOMATION):
        healthy(stack, service)
    item, trace = f"book-{uuid.uuid4().hex}", kept_trace_id()
    records = f"{stack.live.url('airtable-gateway')}/records?table=orders&field=item&value={item}"

    def place() -> None:
        headers = {"traceparent": kept_traceparent(trace)}
        order = {"item": item, "amount": 12.5}
        # Its orchestrator is killed while it is asked.
        with suppress(httpx.HTTPError):
            httpx.post(f"{stack.live.url('saga-orchestrator')}/sagas", json=order, headers=headers, timeout=30)

    def mine() -> list[str]:
        answer = httpx.get(records, timeout=5)
        if answer.status_code != 200:
            raise NotYet(f"answered {answer.status_code}")
        found = [record["fields"]["saga"] for record in answer.json()["records"]]
        if not found:
            raise NotYet("no record")
        return found

    client = threading.Thread(target=place)
    send(stack, AUTOMATION, signal.SIGSTOP)
    try:
        client.start()
        (saga,) = poll_until(mine, "the record of the order", within=10, every=0.3)
        send(stack, "saga-orchestrator", signal.SIGKILL)
    finally:
        send(stack, AUTOMATION, signal.SIGCONT)
    client.join()

    def completed() -> None:
        try:
            answer = httpx.get(f"{stack.live.url('saga-orchestrator')}/sagas/{saga}", timeout=3)
        except httpx.HTTPError as error:
            raise NotYet(str(error)) from error
        if answer.status_code != 200 or answer.json()["outcome"] == "under way":
            raise NotYet(answer.text)
        assert answer.json()["outcome"] == "completed", answer.text

    poll_until(completed, "the end of the saga", within=90)
    assert poll_until(mine, "the records of the order", within=10) == [saga]
    assert metric(stack, "saga-orchestrator", "saga_resumed_total", saga="order") >= 1

    def traced() -> None:
        spans = stack.live.trace(trace)
        if "saga resumed order" not in spans.get("saga-orchestrator", set()):
            raise NotYet(f"the trace has {spans}")

    poll_until(traced, "the trace of the saga after its orchestrator's end", within=60, every=1)


def test_an_order_is_refunded_once_through_the_gateway(stack: Project) -> None:
    healthy(stack, "api-gateway")
    gateway = stack.live.url("api-gateway")

    def order() -> str:
        answer = httpx.post(f"{gateway}/api/orders", json={"item": "book", "amount": 12.5}, timeout=40)
        if answer.status_code != 201:
            raise NotYet(answer.text)  # Airtable throttles now and then.
        return str(answer.json()["id"])

    placed = poll_until(order, "a completed order", within=30)

    def refund() -> dict[str, Any]:
        answer = httpx.post(f"{gateway}/api/refunds", json={"order": placed}, timeout=40)
        if answer.json().get("failed_step") == "record":
            raise NotYet(answer.text)
        return dict(answer.json())

    assert poll_until(refund, "a refund", within=30)["outcome"] == "completed"
    second = poll_until(refund, "a second refund", within=30)
    assert (second["outcome"], second["failed_step"]) == ("compensated", "payment")
    assert metric(stack, "saga-orchestrator", "saga_compensations_total", saga="refund", step="record") >= 1
