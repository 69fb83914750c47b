"""The audit log: who did what to what, with which outcome; in PostgreSQL, and as a line in a log stream of its own.

The table belongs to the owner of the database, who runs ``SCHEMA`` and ``grants``; the role of a service can insert,
and read where it is granted, and nothing else. Time and role are set by PostgreSQL, so no service can pretend either.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from anyio import CancelScope
from opentelemetry import trace

from telemetry import ids, masking
from telemetry.errors import AuditUnavailable, DependencyError
from telemetry.logs import get_logger
from telemetry.metrics import Metrics
from telemetry.postgres import Postgres

OUTCOMES = ("success", "failure", "denied")
ANONYMOUS = "anonymous"
"""Who acts without having said who it is."""
SYSTEM = "system"
"""Who acts without being asked: the service itself."""

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS audit;
CREATE TABLE IF NOT EXISTS audit.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_by text NOT NULL DEFAULT session_user,
    who text NOT NULL,
    action text NOT NULL,
    on_what text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
    detail jsonb NOT NULL,
    trace_id text,
    request_id text,
    correlation_id text
);
CREATE INDEX IF NOT EXISTS events_at ON audit.events (at);
CREATE INDEX IF NOT EXISTS events_who ON audit.events (who, id);
CREATE INDEX IF NOT EXISTS events_trace_id ON audit.events (trace_id);
"""
_COLUMNS = "who, action, on_what, outcome, detail, trace_id, request_id, correlation_id"
_INSERT = f"INSERT INTO audit.events ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8)"

log = get_logger("telemetry.audit")


def expiry(retention: str) -> str:
    """SQL of ``audit.expire()``, the only way for a service to delete: events older than ``retention``, no others."""
    return f"""
CREATE OR REPLACE FUNCTION audit.expire() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH gone AS (DELETE FROM audit.events WHERE at < now() - interval '{retention}' RETURNING 1)
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION audit.expire() FROM PUBLIC;
"""


def grants(role: str, read: bool) -> str:
    """SQL that lets ``role`` insert events, and read and expire them where ``read`` is set; all else is taken away."""
    sql = f"""
REVOKE ALL ON SCHEMA audit FROM "{role}";
REVOKE ALL ON audit.events FROM "{role}";
REVOKE ALL ON FUNCTION audit.expire() FROM "{role}";
GRANT USAGE ON SCHEMA audit TO "{role}";
GRANT INSERT ({_COLUMNS}) ON audit.events TO "{role}";
"""
    if read:
        sql += f'GRANT SELECT ON audit.events TO "{role}"; GRANT EXECUTE ON FUNCTION audit.expire() TO "{role}";\n'
    return sql


@dataclass(frozen=True, slots=True)
class Event:
    """``who`` is a user's id or one of ANONYMOUS and SYSTEM, never an address; ``detail`` holds no secret."""

    action: str
    who: str
    on: str
    outcome: str
    detail: dict[str, Any]


class Audit:
    """Records events of the ``actions`` of one service; counts audit_events_total and audit_failures_total.

    What cannot be stored raises AuditUnavailable, so that the caller refuses the action; its line is written all the
    same, at level error and with ``stored`` false.
    """

    def __init__(self, database: Postgres, metrics: Metrics, actions: Iterable[str]) -> None:
        self._database = database
        self._events = metrics.counter("audit_events_total", "Events in the audit log.", ["action", "outcome"])
        self._failures = metrics.counter(
            "audit_failures_total", "Actions refused since the audit log could not be written.", ["action"]
        )
        for action in actions:
            self._failures.labels(action)
            for outcome in OUTCOMES:
                self._events.labels(action, outcome)

    async def record(self, action: str, *, who: str, on: str, outcome: str, **detail: Any) -> None:
        """Store one event, before its action takes effect where that is possible."""
        event = Event(action, who, on, outcome, masking.mask(detail))
        try:
            await self._database.fetch("audit_insert", _INSERT, *_values(event))
        except (DependencyError, asyncpg.PostgresError) as error:
            raise self._failed(event, error) from error
        self._stored(event)

    async def change(
        self, action: str, work: Callable[[Any], Awaitable[Any]], *, who: str, on: str, **detail: Any
    ) -> Any:
        """Run ``work(connection)`` and store its success in one transaction: both are there, or neither is.

        What ``work`` raises is raised again, and nothing is recorded: the caller knows what kind of failure it is.
        """
        event = Event(action, who, on, "success", masking.mask(detail))

        async def both(connection: Any) -> Any:
            result = await work(connection)
            try:
                await connection.execute(_INSERT, *_values(event))
            except asyncpg.PostgresError as error:
                raise AuditUnavailable(str(error)) from error
            return result

        try:
            result = await self._database.transaction(action, both)
        except DependencyError as error:
            raise self._failed(event, error) from error
        self._stored(event)
        return result

    @asynccontextmanager
    async def around(self, action: str, *, who: str, on: str, **detail: Any) -> AsyncIterator[None]:
        """Record how the block ends: for work whose outcome is known only afterwards, such as a call of a tool.

        The block is not entered while the audit log is away. Should it go away during the block, what was done is
        done: then AuditUnavailable takes the place of the answer, and the line is written.
        """
        try:
            await self._database.fetch("audit_ready", "SELECT 1")
        except (DependencyError, asyncpg.PostgresError) as error:
            raise self._failed(Event(action, who, on, "failure", masking.mask(detail)), error) from error
        try:
            yield
        except BaseException as error:
            # Also where the caller went away: what was begun is recorded. It is answered with the error either way.
            with CancelScope(shield=True), suppress(AuditUnavailable):
                await self.record(action, who=who, on=on, outcome="failure", **detail, error=type(error).__name__)
            raise
        with CancelScope(shield=True):
            await self.record(action, who=who, on=on, outcome="success", **detail)

    def _stored(self, event: Event) -> None:
        self._events.labels(event.action, event.outcome).inc()
        log.info("audit", stored=True, **_line(event))

    def _failed(self, event: Event, error: Exception) -> AuditUnavailable:
        reason = error.reason if isinstance(error, AuditUnavailable) else str(error)
        self._failures.labels(event.action).inc()
        log.error("audit", stored=False, error=reason, **_line(event))
        return AuditUnavailable(reason)


def _line(event: Event) -> dict[str, Any]:
    # `audit` is what Promtail makes the label of the stream from.
    return {
        "audit": True,
        "who": event.who,
        "action": event.action,
        "on_what": event.on,
        "outcome": event.outcome,
        "detail": event.detail,
    }


def _values(event: Event) -> tuple[str | None, ...]:
    span = trace.get_current_span().get_span_context()
    bound = ids.current()
    return (
        event.who,
        event.action,
        event.on,
        event.outcome,
        json.dumps(event.detail),
        f"{span.trace_id:032x}" if span.is_valid else None,
        bound.request if bound else None,
        bound.correlation if bound else None,
    )


def session(token: str) -> str:
    """``session:…``, what a bearer token is called in the audit log: it tells which session, and opens none."""
    return "session:" + hashlib.sha256(token.encode()).hexdigest()[:16]


def caller(headers: Mapping[str, str]) -> str:
    """Who asks, for a service that looks no session up: the session, whose event ``login`` names the user."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return session(token) if scheme.lower() == "bearer" and token else ANONYMOUS
