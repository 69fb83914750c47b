"""What the tests of the audit log share: people, and the rows and lines they leave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.journeys import kept_traceparent

PASSWORD = "correct horse battery"


def psql(stack: Project, user: str, secret: str, sql: str, database: str = "lookout") -> tuple[int, str, str]:
    """Exit code, rows (columns apart by |) and errors of SQL, run inside the container of PostgreSQL as a role."""
    password = (stack.folder / "secrets" / secret).read_text(encoding="utf-8")
    done = engine.run(
        "exec", "--env", f"PGPASSWORD={password}", stack.compose.containers()["postgres"]["Id"],
        "psql", "--host", "127.0.0.1", "--port", str(stack.stack.port_of("postgres")), "--username", user,
        "--dbname", database, "--no-align", "--tuples-only", "--quiet", "--command", sql,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def owned(stack: Project, sql: str, database: str = "lookout") -> list[list[str]]:
    """Rows of SQL that the owner of the database runs."""
    code, rows, errors = psql(stack, "lookout", "postgres_password", sql, database)
    assert code == 0, errors
    return [row.split("|") for row in rows.splitlines()]


def rows_of(stack: Project, trace_id: str) -> list[list[str]]:
    """Audit events of a trace: recorded by, who, action, on what, outcome."""
    columns = "recorded_by, who, action, on_what, outcome"
    return owned(stack, f"SELECT {columns} FROM audit.events WHERE trace_id = '{trace_id}' ORDER BY id")


def lines_of(stack: Project, trace_id: str, count: int = 1) -> list[dict[str, Any]]:
    """The lines of a trace in the audit stream of Loki, once there are that many; more are found too."""

    def ask() -> list[dict[str, Any]]:
        query = f'{{project="{stack.stack.project}", audit="true"}} | trace_id=`{trace_id}`'
        lines = stack.live.logs(query)
        if len(lines) < count:
            raise NotYet(f"{len(lines)} audit lines of trace {trace_id}")
        return [json.loads(line) for _, line, _ in lines]

    return poll_until(ask, f"{count} audit lines", within=30)


def counted(stack: Project, service: str, metric: str, **labels: str) -> float:
    """The value of a series, as the service exposes it now."""
    text = httpx.get(f"{stack.live.url(service)}/metrics", timeout=10).text
    for line in text.splitlines():
        name, _, rest = line.partition("{")
        found = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if name == metric and labels.items() <= found.items():
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"{service} does not expose {metric} {labels}")


@dataclass(frozen=True)
class Visitor:
    """Somebody with an account, who asks platform-services."""

    stack: Project
    email: str
    id: str
    password: str = PASSWORD

    def ask(self, method: str, path: str, trace: str | None = None, token: str | None = None, **options: Any) -> Any:
        """One request, under a new trace where none is given."""
        headers = {"traceparent": trace or kept_traceparent()}
        if token:
            headers["authorization"] = f"Bearer {token}"
        url = f"{self.stack.live.url('platform-services')}{path}"
        return httpx.request(method, url, headers=headers, timeout=20, **options)

    def log_in(self, trace: str | None = None, password: str | None = None) -> httpx.Response:
        """A login with the right password, or another."""
        body = {"email": self.email, "password": password or self.password}
        answer: httpx.Response = self.ask("POST", "/session", trace, json=body)
        return answer

    def token(self) -> str:
        """The token of a new session."""
        answer = self.log_in()
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


Act = Callable[[str], Any]
"""Does something under a traceparent."""


def assert_audited(
    stack: Project, service: str, act: Act, who: str | None, action: str, on: str, outcome: str
) -> dict[str, Any]:
    """What is done leaves one row, one line of the same trace, and one more in the counter. Returns the line."""
    trace = kept_traceparent()
    trace_id = trace.split("-")[1]
    before = counted(stack, service, "audit_events_total", action=action, outcome=outcome)
    act(trace)
    [row] = rows_of(stack, trace_id)
    assert row[0] == "app_" + service.replace("-", "_")
    assert row[2] == action
    assert re.fullmatch(on, row[3]), row
    assert row[4] == outcome
    assert who is None or row[1] == who
    [line] = lines_of(stack, trace_id)
    assert [line["who"], line["action"], line["on_what"], line["outcome"]] == row[1:]
    assert line["stored"] is True
    assert line["service"] == service
    assert counted(stack, service, "audit_events_total", action=action, outcome=outcome) > before
    return line
