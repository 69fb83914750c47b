"""Who did what: one row and one line for each privileged action."""

from __future__ import annotations

import json
import re
import uuid
from functools import partial
from typing import Any

import httpx
import pytest

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.audited import PASSWORD, Visitor, assert_audited, counted, lines_of, owned, rows_of
from tests.integration.exposed import quiet
from tests.integration.journeys import kept_traceparent

pytestmark = pytest.mark.integration


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


def test_the_lines_of_a_request_name_the_user_once_it_is_known(stack: Project, visitor: Visitor) -> None:
    trace = kept_traceparent()
    assert visitor.ask("GET", "/session", trace, visitor.token()).status_code == 200

    def access_line() -> dict[str, Any]:
        query = f'{{project="{stack.stack.project}", service="platform-services"}} | trace_id=`{trace.split("-")[1]}`'
        lines = [json.loads(line) for _, line, _ in stack.live.logs(query)]
        found = [line for line in lines if line["message"] == "request"]
        if not found:
            raise NotYet("no access line")
        return dict(found[0])

    assert poll_until(access_line, "the access line", within=30)["user_id"] == visitor.id


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


def who_logged_in(stack: Project, handle: str) -> list[list[str]]:
    """Ids of the users whose logins name the session of this handle."""
    return owned(stack, f"SELECT who FROM audit.events WHERE action = 'login' AND on_what = '{handle}'")


def test_a_tool_call_is_audited_by_a_handle_that_the_login_names_too(stack: Project, visitor: Visitor) -> None:
    token = visitor.token()

    def call(trace: str) -> None:
        url = f"{stack.live.url('mcp-server')}/tools/word_count"
        headers = {"traceparent": trace, "authorization": f"Bearer {token}"}
        assert httpx.post(url, json={"text": "one two"}, headers=headers, timeout=20).status_code == 200

    line = assert_audited(stack, "mcp-server", call, None, "tool_call", "tool:word_count", "success")
    assert who_logged_in(stack, line["who"]) == [[visitor.id]]


def test_a_tool_call_of_a_chat_is_audited_by_the_handle_of_the_session_that_chats(
    stack: Project, visitor: Visitor
) -> None:
    token = visitor.token()

    def chat(trace: str) -> None:
        url = f"{stack.live.url('api-gateway')}/api/chat"
        # Asked once only: a chat that is in the cache calls no tool.
        body = {"message": f"Whose are {uuid.uuid4().hex}?", "tool": "word_count"}
        headers = {"traceparent": trace, "authorization": f"Bearer {token}"}
        assert httpx.post(url, json=body, headers=headers, timeout=40).status_code == 200

    line = assert_audited(stack, "mcp-server", chat, None, "tool_call", "tool:word_count", "success")
    assert who_logged_in(stack, line["who"]) == [[visitor.id]]


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

    with quiet(stack):
        before = active()
        tokens = [visitor.token() for _ in range(6)]
        assert active() == before + 6
        for token in tokens:
            visitor.ask("DELETE", "/session", token=token)
        assert active() == before


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
    assert after >= before + 2, "the traffic guesses passwords too, so more is right and less is not"
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
