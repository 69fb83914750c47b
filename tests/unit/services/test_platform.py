"""What platform-services refuses before it asks PostgreSQL or Redis, and while neither answers."""

from pathlib import Path

import pytest

from platform_services import admin
from platform_services.app import build
from telemetry import Telemetry
from tests.unit.services.helpers import Browser, MakeTelemetry

USER = "3f0c9a52-8a3e-4f0e-9c57-0d6f1d0c2b11"


@pytest.fixture
def telemetry(make_telemetry: MakeTelemetry, tmp_path: Path) -> Telemetry:
    (tmp_path / "platform_admin").write_text("correct horse")
    return make_telemetry(
        REDIS_URL="redis://127.0.0.1:1/0",
        DATABASE_URL="postgresql://app_platform_services@127.0.0.1:1/lookout",
        PLATFORM_ADMIN_FILE=str(tmp_path / "platform_admin"),
    )


@pytest.fixture
def browser(telemetry: Telemetry) -> Browser:
    return Browser(build(telemetry))


@pytest.mark.parametrize(
    "body",
    [
        {"email": "nobody", "password": "long enough"},
        {"email": "a@b", "password": "short"},
        {"email": "a@b"},
        {"password": "long enough"},
    ],
)
def test_a_registration_without_address_or_with_a_short_password_is_refused(
    browser: Browser, body: dict[str, str]
) -> None:
    assert browser.post("/users", json=body).status_code == 400


def test_a_registration_that_cannot_be_audited_is_refused(browser: Browser, telemetry: Telemetry) -> None:
    answer = browser.post("/users", json={"email": "a@example.com", "password": "long enough"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "audit_unavailable"
    value = telemetry.metrics.registry.get_sample_value
    assert value("audit_failures_total", {"action": "register"}) == 1
    assert value("user_actions_total", {"action": "register"}) == 0


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("GET", "/admin/users", "users_list"),
        ("GET", "/admin/audit", "audit_list"),
        ("POST", f"/admin/users/{USER}/disable", "user_disable"),
        ("POST", f"/admin/users/{USER}/enable", "user_enable"),
        ("PUT", f"/admin/users/{USER}/role", "user_role"),
    ],
)
def test_an_administrators_command_of_a_stranger_that_cannot_be_audited_is_refused_all_the_same(
    browser: Browser, telemetry: Telemetry, method: str, path: str, action: str
) -> None:
    assert browser.request(method, path).status_code == 503
    assert telemetry.metrics.registry.get_sample_value("audit_failures_total", {"action": action}) == 1


def test_a_user_is_named_by_id(browser: Browser) -> None:
    assert browser.post("/admin/users/somebody/disable").status_code == 400


def test_every_outcome_of_a_login_is_counted_from_zero(browser: Browser, telemetry: Telemetry) -> None:
    assert browser.get("/session").status_code == 401
    value = telemetry.metrics.registry.get_sample_value
    for outcome in ("success", "failure", "throttled"):
        assert value("auth_attempts_total", {"method": "password", "outcome": outcome}) == 0


@pytest.mark.parametrize("arguments", [[], ["role", USER, "owner"], ["disable"], ["audit", "--limit", "many"]])
def test_the_back_office_says_how_it_is_used(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        admin.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_back_office_says_that_the_service_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "platform_admin").write_text("correct horse")
    monkeypatch.setenv("PLATFORM_ADMIN_FILE", str(tmp_path / "platform_admin"))
    monkeypatch.setenv("PORT", "1")
    assert admin.main(["users"]) == 1
    said = capsys.readouterr()
    assert "admin: " in said.err
    assert "horse" not in said.out + said.err
