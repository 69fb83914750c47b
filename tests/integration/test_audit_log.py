"""No service can take back what stands in the audit log; how long it is kept, and how it is read."""

from __future__ import annotations

import re
import uuid

import httpx
import pytest
import yaml

from lookout import engine
from lookout.model import load, role_of
from lookout.project import Project
from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until
from tests.integration.audited import counted, lines_of, owned, psql, rows_of
from tests.integration.journeys import kept_traceparent

pytestmark = pytest.mark.integration

ROLES = [role_of(service) for service in load([ROOT / "stack.yaml"]).on_postgres]
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
