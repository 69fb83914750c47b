"""Who did what: one row and one line for each privileged action, which no service can take back."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
import yaml

from lookout import engine
from lookout.model import load
from lookout.project import Project
from lookout.render import ROOT
from lookout.secrets import role_of
from lookout.verify.polling import NotYet, poll_until
from tests.integration.journeys import kept_traceparent

pytestmark = pytest.mark.integration

PASSWORD = "correct horse battery"
ROLES = [role_of(service) for service in load([ROOT / "stack.yaml"]).on_postgres]


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


@pytest.fixture
def visitor(stack: Project) -> Visitor:
    """A new user of no special rights."""
    email = f"{uuid.uuid4().hex}@example.com"
    url = f"{stack.live.url('platform-services')}/users"
    answer = httpx.post(url, json={"email": email, "password": PASSWORD}, timeout=20)
    assert answer.status_code == 201, answer.text
    return Visitor(stack, email, answer.json()["id"])


@pytest.fixture(scope="module")
def admin(stack: Project) -> Visitor:
    """The first administrator, whose password is a generated secret."""
    password = (stack.folder / "secrets" / "platform_admin").read_text(encoding="utf-8")
    [[user]] = owned(stack, "SELECT id FROM app_platform_services.users WHERE email = 'admin@localhost'")
    return Visitor(stack, "admin@localhost", user, password)


@pytest.fixture(scope="module")
def admin_token(admin: Visitor) -> str:
    """A session of the administrator."""
    return admin.token()


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


def test_a_registration_is_audited(stack: Project, admin: Visitor) -> None:
    body = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD}
    line = assert_audited(
        stack, "platform-services", lambda trace: admin.ask("POST", "/users", trace, json=body),
        None, "register", r"user:[0-9a-f-]{36}", "success",
    )  # fmt: skip
    assert line["on_what"] == f"user:{line['who']}"
    assert body["email"] not in str(line)


def test_a_login_is_audited(stack: Project, visitor: Visitor) -> None:
    assert_audited(
        stack, "platform-services", visitor.log_in, visitor.id, "login", r"session:[0-9a-f]{16}", "success"
    )  # fmt: skip


def test_a_failed_login_is_audited_by_the_id_of_the_account(stack: Project, visitor: Visitor) -> None:
    line = assert_audited(
        stack, "platform-services", lambda trace: visitor.log_in(trace, "wrong horse"),
        visitor.id, "login", "session", "failure",
    )  # fmt: skip
    assert line["detail"] == {"reason": "wrong password"}


def test_a_failed_login_to_no_account_is_audited(stack: Project) -> None:
    stranger = Visitor(stack, f"{uuid.uuid4().hex}@example.com", "")
    assert_audited(
        stack, "platform-services", stranger.log_in, "anonymous", "login", "session", "failure"
    )  # fmt: skip


def test_a_logout_is_audited(stack: Project, visitor: Visitor) -> None:
    token = visitor.token()
    assert_audited(
        stack, "platform-services", lambda trace: visitor.ask("DELETE", "/session", trace, token),
        visitor.id, "logout", r"session:[0-9a-f]{16}", "success",
    )  # fmt: skip


def test_a_tool_call_is_audited_by_a_handle_that_the_login_names_too(stack: Project, visitor: Visitor) -> None:
    token = visitor.token()

    def call(trace: str) -> None:
        url = f"{stack.live.url('mcp-server')}/tools/word_count"
        headers = {"traceparent": trace, "authorization": f"Bearer {token}"}
        assert httpx.post(url, json={"text": "one two"}, headers=headers, timeout=20).status_code == 200

    line = assert_audited(stack, "mcp-server", call, None, "tool_call", "tool:word_count", "success")
    found = owned(stack, f"SELECT who FROM audit.events WHERE action = 'login' AND on_what = '{line['who']}'")
    assert found == [[visitor.id]]


def test_an_administrators_command_is_audited(
    stack: Project, admin: Visitor, admin_token: str, visitor: Visitor
) -> None:
    line = assert_audited(
        stack, "platform-services",
        lambda trace: admin.ask("PUT", f"/admin/users/{visitor.id}/role", trace, admin_token, json={"role": "editor"}),
        admin.id, "user_role", f"user:{visitor.id}", "success",
    )  # fmt: skip
    assert line["detail"] == {"role": "editor"}
    token = visitor.token()
    assert visitor.ask("GET", "/session", token=token).json()["role"] == "editor"


def test_an_ordinary_user_is_kept_from_the_admin_api_and_that_is_audited(stack: Project, visitor: Visitor) -> None:
    token = visitor.token()
    for method, path, action in (
        ("GET", "/admin/users", "users_list"),
        ("GET", "/admin/audit", "audit_list"),
        ("POST", f"/admin/users/{visitor.id}/enable", "user_enable"),
    ):
        act = partial(_refused, visitor, method, path, token)
        assert_audited(stack, "platform-services", act, visitor.id, action, ".*", "denied")


def _refused(visitor: Visitor, method: str, path: str, token: str, trace: str) -> None:
    assert visitor.ask(method, path, trace, token).status_code == 403


def test_the_administrator_reads_the_audit_log(admin: Visitor, admin_token: str, visitor: Visitor) -> None:
    visitor.log_in()
    events = admin.ask("GET", f"/admin/audit?who={visitor.id}&limit=2", token=admin_token).json()["events"]
    assert [event["action"] for event in events] == ["login", "register"]


def test_a_disabled_user_is_out_at_once_and_cannot_come_back(
    stack: Project, admin: Visitor, admin_token: str, visitor: Visitor
) -> None:
    tokens = [visitor.token(), visitor.token()]
    assert admin.ask("POST", f"/admin/users/{visitor.id}/disable", token=admin_token).json()["disabled"] is True
    assert [visitor.ask("GET", "/session", token=token).status_code for token in tokens] == [401, 401]
    assert visitor.log_in().status_code == 401
    secret = (stack.folder / "secrets" / "redis_password").read_text(encoding="utf-8")
    container = stack.compose.containers()["redis"]["Id"]
    left = engine.run(
        "exec", "--env", f"REDISCLI_AUTH={secret}", container, "redis-cli", "EXISTS", f"sessions:{visitor.id}"
    )
    assert left.stdout.strip() == "0"
    assert admin.ask("POST", f"/admin/users/{visitor.id}/enable", token=admin_token).json()["disabled"] is False
    assert visitor.log_in().status_code == 201


def test_sessions_are_counted_as_they_begin_and_end(stack: Project, visitor: Visitor) -> None:
    def active() -> int:
        return int(counted(stack, "platform-services", "active_sessions"))

    # The traffic logs in too: not exactly, but in the right direction by more than it can do meanwhile.
    before = active()
    tokens = [visitor.token() for _ in range(6)]
    assert active() >= before + 6
    for token in tokens:
        visitor.ask("DELETE", "/session", token=token)
    assert active() < before + 6


def test_the_last_administrator_cannot_be_lost(admin: Visitor, admin_token: str) -> None:
    assert admin.ask("POST", f"/admin/users/{admin.id}/disable", token=admin_token).status_code == 409
    answer = admin.ask("PUT", f"/admin/users/{admin.id}/role", token=admin_token, json={"role": "viewer"})
    assert answer.status_code == 409


def test_guessing_is_throttled_also_for_the_right_password(stack: Project, visitor: Visitor) -> None:
    before = counted(stack, "platform-services", "auth_attempts_total", method="password", outcome="throttled")
    assert [visitor.log_in(password="wrong horse").status_code for _ in range(5)] == [401] * 5
    refused = visitor.log_in()
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert visitor.log_in().status_code == 429
    after = counted(stack, "platform-services", "auth_attempts_total", method="password", outcome="throttled")
    assert after == before + 2
    denied = owned(
        stack,
        f"SELECT count(*) FROM audit.events WHERE who = '{visitor.id}' AND action = 'login' AND outcome = 'denied'",
    )
    assert denied == [["1"]]


def test_the_back_office_goes_through_the_service_and_leaves_one_event_for_its_command(
    stack: Project, admin: Visitor, visitor: Visitor
) -> None:
    def run(*arguments: str, check: bool = True) -> Any:
        return stack.compose(
            "exec", "-T", "platform-services", "python", "-m", "platform_services.admin", *arguments, check=check
        )

    before = counted(stack, "platform-services", "user_actions_total", action="user_disable")
    done = run("disable", visitor.email)
    assert json.loads(done.stdout)["disabled"] is True
    assert counted(stack, "platform-services", "user_actions_total", action="user_disable") == before + 1
    trace_id = re.findall(r"trace ([0-9a-f]{32})", done.stderr)[0]
    found = rows_of(stack, trace_id)
    assert [row[2] for row in found] == ["login", "users_list", "user_disable", "logout"]
    assert {row[1] for row in found} == {admin.id}
    assert len(lines_of(stack, trace_id, 4)) == 4
    listed = [json.loads(line) for line in run("audit", "--trace-id", trace_id).stdout.splitlines()]
    assert [event["action"] for event in listed] == ["logout", "user_disable", "users_list", "login"]
    failed = run("disable", admin.email, check=False)
    assert failed.returncode == 1
    assert "nobody else is an administrator" in failed.stderr


FORBIDDEN = {
    "UPDATE": "UPDATE audit.events SET who = 'nobody'",
    "DELETE": "DELETE FROM audit.events",
    "TRUNCATE": "TRUNCATE audit.events",
    "DROP": "DROP TABLE audit.events",
    "DROP SCHEMA": "DROP SCHEMA audit CASCADE",
    "ALTER": "ALTER TABLE audit.events DISABLE TRIGGER ALL",
    "ADD": "ALTER TABLE audit.events ADD COLUMN x text",
    "RULE": "CREATE RULE nothing AS ON INSERT TO audit.events DO INSTEAD NOTHING",
    "TRIGGER": "CREATE TRIGGER t BEFORE INSERT ON audit.events EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "another time": "INSERT INTO audit.events (at, who, action, on_what, outcome, detail)"
    " VALUES ('2000-01-01', 'a', 'b', 'c', 'success', '{}')",
    "another role": "INSERT INTO audit.events (recorded_by, who, action, on_what, outcome, detail)"
    " VALUES ('lookout', 'a', 'b', 'c', 'success', '{}')",
    "expire": "CREATE OR REPLACE FUNCTION audit.expire() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    "owner": "SET ROLE lookout",
    "superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "public": "CREATE TABLE public.notes ()",
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("attempt", FORBIDDEN)
def test_the_role_of_a_service_cannot_change_the_audit_log(stack: Project, role: str, attempt: str) -> None:
    code, _, errors = psql(stack, role, f"postgres_{role}", FORBIDDEN[attempt])
    assert code != 0
    assert re.search(r"permission denied|must be owner|[Oo]nly roles with the SUPERUSER attribute", errors), errors


def test_every_service_on_postgres_has_a_role_that_was_tested(stack: Project) -> None:
    found = owned(stack, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'app\\_%' AND rolcanlogin ORDER BY 1")
    assert [row[0] for row in found] == sorted(ROLES)


def test_a_role_can_add_to_the_log_and_only_platform_services_can_read_it(stack: Project) -> None:
    select = "SELECT count(*) > 0 FROM audit.events"
    assert psql(stack, "app_platform_services", "postgres_app_platform_services", select)[:2] == (0, "t")
    for sql in (select, "SELECT audit.expire()"):
        code, _, errors = psql(stack, "app_mcp_server", "postgres_app_mcp_server", sql)
        assert code != 0
        assert "permission denied" in errors
    code, _, errors = psql(
        stack, "app_mcp_server", "postgres_app_mcp_server", "SELECT * FROM app_platform_services.users"
    )
    assert code != 0
    assert "permission denied" in errors


def test_only_what_is_older_than_its_retention_is_deleted(stack: Project) -> None:
    days = round(stack.stack.retention.audit.seconds / 86400)
    marker = uuid.uuid4().hex
    for age in (days - 1, days + 1):
        owned(
            stack,
            "INSERT INTO audit.events (at, who, action, on_what, outcome, detail) VALUES"
            f" (now() - interval '{age} days', '{marker}', 'old', '{age}', 'success', '{{}}')",
        )
    code, gone, errors = psql(stack, "app_platform_services", "postgres_app_platform_services", "SELECT audit.expire()")
    assert (code, gone) == (0, "1"), errors
    assert owned(stack, f"SELECT on_what FROM audit.events WHERE who = '{marker}'") == [[str(days - 1)]]


def test_a_database_of_an_older_version_gets_what_it_lacks_and_its_tables_go_to_their_service(stack: Project) -> None:
    name = f"old_{uuid.uuid4().hex[:8]}"
    owned(stack, f"CREATE DATABASE {name}")
    owned(stack, "CREATE TABLE users (email text PRIMARY KEY); INSERT INTO users VALUES ('a@example.com')", name)
    address = f"postgresql://lookout@postgres:{stack.stack.port_of('postgres')}/{name}"
    for _ in range(2):
        stack.compose("run", "--rm", "--no-deps", "-T", "-e", f"DATABASE_URL={address}", "postgres-setup")
    tables = (
        "SELECT schemaname, tablename, tableowner FROM pg_tables"
        " WHERE schemaname IN ('public', 'audit') OR tablename = 'users'"
    )
    assert sorted(owned(stack, tables, name)) == [
        ["app_platform_services", "users", "app_platform_services"],
        ["audit", "events", "lookout"],
    ]
    owned(stack, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_tool_call_is_refused_while_postgresql_is_away_and_its_line_says_so(stack: Project) -> None:
    container = stack.compose.containers()["postgres"]["Id"]
    trace = kept_traceparent()
    trace_id = trace.split("-")[1]
    url = f"{stack.live.url('mcp-server')}/tools/word_count"
    ran = counted(stack, "mcp-server", "mcp_tool_executions_total", tool="word_count", status="success")
    engine.run("pause", container)
    try:
        answer = httpx.post(url, json={"text": "one two"}, headers={"traceparent": trace}, timeout=30)
    finally:
        engine.run("unpause", container)
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "audit_unavailable"
    assert "result" not in answer.json()
    [line] = lines_of(stack, trace_id)
    assert line["stored"] is False
    assert counted(stack, "mcp-server", "audit_failures_total", action="tool_call") >= 1

    def again() -> None:
        if httpx.post(url, json={"text": "one two"}, timeout=20).status_code != 200:
            raise NotYet("the tool is still refused")

    poll_until(again, "tools after PostgreSQL came back", within=60, every=1)
    assert rows_of(stack, trace_id) == []
    assert counted(stack, "mcp-server", "mcp_tool_executions_total", tool="word_count", status="success") > ran


def test_loki_keeps_the_audit_stream_as_long_as_the_model_says(stack: Project) -> None:
    running = yaml.safe_load(httpx.get(f"{stack.live.url('loki')}/config", timeout=10).text)
    [stream] = running["limits_config"]["retention_stream"]
    assert stream["selector"] == f'{{project="{stack.stack.project}", audit="true"}}'
    hours = round(stack.stack.retention.audit.seconds / 3600)
    assert stream["period"] in (stack.stack.retention.audit, f"{hours}h", f"{hours}h0m0s", f"{hours // 24}d", "1y")
    assert running["compactor"]["retention_enabled"] is True


def samples(language: str) -> str:
    """The queries of a language on the page of the audit log."""
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    return str(re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])


@pytest.mark.parametrize("query", samples("logql").splitlines())
def test_loki_answers_the_sample_queries_of_the_page(stack: Project, query: str) -> None:
    url = f"{stack.live.url('loki')}/loki/api/v1/query_range"
    asked = query.replace('project="lookout"', f'project="{stack.stack.project}"')
    answer = httpx.get(url, params={"query": asked, "limit": 5, "since": "1h"}, timeout=20)
    assert answer.status_code == 200, answer.text
    print(asked, "->", answer.text[:600])


def test_postgresql_answers_the_sample_queries_of_the_page(stack: Project) -> None:
    code, rows, errors = psql(stack, "app_platform_services", "postgres_app_platform_services", samples("sql"))
    assert code == 0, errors
    print(rows)


def test_loki_takes_a_query_over_all_that_is_kept(stack: Project) -> None:
    url = f"{stack.live.url('loki')}/loki/api/v1/query_range"
    query, since = f'{{project="{stack.stack.project}", audit="true"}}', str(stack.stack.retention.audit.hours)
    answer = httpx.get(url, params={"query": query, "limit": 1, "since": since}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["result"]
