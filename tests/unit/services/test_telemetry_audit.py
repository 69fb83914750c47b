"""The audit log where it cannot be written, and what it says of callers; the rest needs PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from telemetry import AuditUnavailable, Telemetry
from telemetry.audit import ANONYMOUS, Audit, caller, session
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry

NO_DATABASE = {"DATABASE_URL": "postgresql://app_shop@127.0.0.1:1/lookout"}


def audited(make_telemetry: MakeTelemetry) -> tuple[Telemetry, Audit]:
    """A service with an audit log; made in the test, for logging keeps the stdout that it finds."""
    telemetry = make_telemetry(**NO_DATABASE)
    return telemetry, telemetry.audit(telemetry.postgres(""), "order", "refund")


def test_every_action_is_counted_from_zero(make_telemetry: MakeTelemetry) -> None:
    telemetry, _ = audited(make_telemetry)
    value = telemetry.metrics.registry.get_sample_value
    for action in ("order", "refund"):
        assert value("audit_failures_total", {"action": action}) == 0
        for outcome in ("success", "failure", "denied"):
            assert value("audit_events_total", {"action": action, "outcome": outcome}) == 0


def test_what_cannot_be_stored_is_refused_counted_and_written_as_a_line(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry, audit = audited(make_telemetry)
    with pytest.raises(AuditUnavailable):
        asyncio.run(audit.record("order", who="u1", on="book", outcome="success", price=3, password="hunter2"))
    value = telemetry.metrics.registry.get_sample_value
    assert value("audit_failures_total", {"action": "order"}) == 1
    assert value("audit_events_total", {"action": "order", "outcome": "success"}) == 0
    [line] = [line for line in log_lines() if line.get("audit")]
    assert line["stored"] is False
    assert line["level"] == "error"
    assert {key: line[key] for key in ("who", "action", "on_what", "outcome", "detail")} == {
        "who": "u1",
        "action": "order",
        "on_what": "book",
        "outcome": "success",
        "detail": {"price": 3, "password": "***"},
    }


def test_work_whose_outcome_is_known_only_afterwards_is_not_begun_without_an_audit_log(
    make_telemetry: MakeTelemetry,
) -> None:
    _, audit = audited(make_telemetry)
    begun: list[str] = []

    async def run() -> None:
        async with audit.around("order", who="u1", on="book"):
            begun.append("order")

    with pytest.raises(AuditUnavailable):
        asyncio.run(run())
    assert not begun


def test_a_change_that_cannot_be_audited_is_not_made(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    _, audit = audited(make_telemetry)
    made: list[object] = []

    async def work(connection: object) -> None:
        made.append(connection)

    with pytest.raises(AuditUnavailable):
        asyncio.run(audit.change("refund", work, who="u1", on="order:7"))
    assert not made
    assert [line["stored"] for line in log_lines() if line.get("audit")] == [False]


def test_a_change_whose_event_is_refused_says_why_once(
    make_telemetry: MakeTelemetry, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        async def execute(self, *_arguments: object) -> None:
            raise asyncpg.InsufficientPrivilegeError("permission denied for table events")

    async def transaction(_name: str, work: Callable[[object], Awaitable[object]]) -> object:
        return await work(Refusing())

    async def work(_connection: object) -> None:
        """Changes something, which is rolled back."""

    telemetry = make_telemetry(**NO_DATABASE)
    database = telemetry.postgres("")
    monkeypatch.setattr(database, "transaction", transaction)
    audit = telemetry.audit(database, "refund")
    with pytest.raises(AuditUnavailable) as refused:
        asyncio.run(audit.change("refund", work, who="u1", on="order:7"))
    assert str(refused.value) == "audit log: permission denied for table events"
    assert [line["error"] for line in log_lines() if line.get("audit")] == ["permission denied for table events"]


def test_the_caller_of_a_refused_action_is_told_to_come_back(make_telemetry: MakeTelemetry) -> None:
    telemetry, audit = audited(make_telemetry)

    async def order(_request: Request) -> Response:
        await audit.record("order", who="u1", on="book", outcome="success")
        return JSONResponse({})

    answer = Browser(telemetry.app([Route("/order", order, methods=["POST"])])).post("/order")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "audit_unavailable"


def test_the_line_of_an_event_carries_the_trace_of_its_request(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry, audit = audited(make_telemetry)

    async def order(_request: Request) -> Response:
        await audit.record("order", who="u1", on="book", outcome="success")
        return JSONResponse({})

    browser = Browser(telemetry.app([Route("/order", order, methods=["POST"])]))
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    browser.post("/order", headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "x-request-id": "request-1"})
    [line] = [line for line in log_lines() if line.get("audit")]
    assert line["trace_id"] == trace_id
    assert line["request_id"] == "request-1"


def test_a_caller_is_known_by_a_handle_that_does_not_open_the_session() -> None:
    handle = caller({"authorization": "Bearer abcdefgh"})
    assert handle == session("abcdefgh")
    assert "abcdefgh" not in handle
    assert (
        caller({}) == caller({"authorization": "Basic abcdefgh"}) == caller({"authorization": "Bearer "}) == ANONYMOUS
    )
