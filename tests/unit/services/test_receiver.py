import json
from pathlib import Path
from typing import Any

import pytest

from receiver.app import build
from receiver.store import KEPT, MAX_LINES, Store
from tests.unit.services.helpers import Browser, MakeTelemetry


def webhook(name: str = "ServiceDown", status: str = "firing", **labels: str) -> dict[str, Any]:
    """A notification as Alertmanager sends it."""
    alert = {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", **labels},
        "annotations": {"summary": f"{name} on {labels.get('instance', 'x')}"},
        "startsAt": "2026-11-21T10:00:00.1Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": "0123456789abcdef",
    }
    return {"version": "4", "status": status, "receiver": "local", "groupLabels": {}, "alerts": [alert]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def browser(make_telemetry: MakeTelemetry, folder: Path) -> Browser:
    return Browser(build(make_telemetry(DATA_DIR=str(folder))))


def names(browser: Browser, query: str = "") -> list[str]:
    found = browser.get(f"/notifications{query}").json()["notifications"]
    return [alert["labels"]["alertname"] for each in found for alert in each["alerts"]]


def test_notifications_are_kept_newest_last_and_found_by_name_status_and_time(browser: Browser) -> None:
    browser.post("/", json=webhook("First"))
    browser.post("/team/web", json=webhook("Second", "resolved"))
    assert names(browser) == ["First", "Second"]
    assert names(browser, "?alertname=Second") == ["Second"]
    assert names(browser, "?status=firing") == ["First"]
    received = browser.get("/notifications").json()["notifications"][0]["received_at"]
    assert isinstance(received, float)
    assert names(browser, f"?since={received}") == ["Second"]
    assert browser.get("/notifications?since=yesterday").status_code == 400


def test_notifications_survive_a_restart(browser: Browser, make_telemetry: MakeTelemetry, folder: Path) -> None:
    browser.post("/", json=webhook("First"))
    with (folder / "notifications.jsonl").open("a") as file:
        file.write('{"cut short')
    again = Browser(build(make_telemetry(DATA_DIR=str(folder))))
    again.post("/", json=webhook("Second"))
    assert names(again) == ["First", "Second"]


def test_memory_and_file_are_bounded(folder: Path) -> None:
    store = Store(folder)
    for number in range(MAX_LINES + 10):
        store.add({"received_at": float(number), "status": "firing", "alerts": []})
    assert len(store.find()) == KEPT
    assert len((folder / "notifications.jsonl").read_text().splitlines()) <= MAX_LINES
    assert store.find()[-1]["received_at"] == MAX_LINES + 9


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("no json", "the body is not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "status must be"),
        ('{"status": "firing", "alerts": []}', "alerts must be"),
        ('{"status": "firing", "alerts": [1]}', "alerts[0].status"),
        ('{"status": "firing", "alerts": [{"status": "firing", "labels": {"a": 1}}]}', "labels must be"),
        ("[" * 100_000, "the body is not JSON"),
    ],
)
def test_what_is_malformed_is_refused_with_the_reason_and_counted(browser: Browser, body: str, reason: str) -> None:
    answer = browser.post("/", content=body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]["message"]
    assert 'notifications_malformed_total{service="shop"} 1.0' in browser.get("/metrics").text
    assert names(browser) == []


def test_alerts_are_counted_by_status_and_severity(browser: Browser) -> None:
    browser.post("/", json=webhook())
    browser.post("/", json=webhook(severity="made-up-by-somebody"))
    text = browser.get("/metrics").text
    assert 'notifications_received_total{service="shop",severity="critical",status="firing"} 1.0' in text
    assert 'notifications_received_total{service="shop",severity="other",status="firing"} 1.0' in text


def test_the_page_escapes_what_alerts_say(browser: Browser) -> None:
    assert "None yet" in browser.get("/").text
    evil = webhook("<script>alert(1)</script>", instance='"><img src=x>')
    evil["alerts"][0]["annotations"]["runbook_url"] = "javascript:alert(1)"
    browser.post("/", json=evil)
    page = browser.get("/").text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "javascript:" not in page
    assert "&lt;script&gt;" in page


def test_a_token_is_asked_for_where_there_is_one(make_telemetry: MakeTelemetry, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2")
    environ = {"DATA_DIR": str(tmp_path), "RECEIVER_TOKEN_FILE": str(tmp_path / "token")}
    browser = Browser(build(make_telemetry(**environ)))
    assert browser.post("/", json=webhook()).status_code == 401
    wrong = {"authorization": "Bearer hunter3"}
    assert browser.post("/", json=webhook(), headers=wrong).status_code == 401
    right = {"authorization": "Bearer hunter2"}
    assert browser.post("/", content=json.dumps(webhook()), headers=right).status_code == 200
