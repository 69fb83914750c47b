"""What the services do beside telemetry, where it can be seen without Redis and PostgreSQL."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from api_gateway.webhooks import signature
from automation_services.reviews import STAGES
from automation_services.work import WORKFLOWS, WorkFailed, process_file
from frontend.app import build as build_frontend
from frontend.events import validate
from platform_services import passwords
from simulators.app import build as build_simulators
from tests.unit.services.helpers import Browser, MakeTelemetry
from traffic.pace import Pace


def test_a_webhook_signature_is_the_one_of_github() -> None:
    # The example of docs.github.com, "Validating webhook deliveries".
    assert signature("It's a Secret to Everybody", b"Hello, World!") == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )


@pytest.mark.parametrize(
    "event",
    [
        None,
        {"type": "click"},
        {"type": "error", "kind": "invented", "message": "x"},
        {"type": "error", "kind": "script", "message": "x" * 501},
        {"type": "vital", "vital": "FID", "value": 1},
        {"type": "vital", "vital": "LCP", "value": "1"},
        {"type": "vital", "vital": "LCP", "value": True},
        {"type": "vital", "vital": "LCP", "value": -1},
        {"type": "vital", "vital": "LCP", "value": float("nan")},
        {"type": "vital", "vital": "CLS", "value": 101},
    ],
)
def test_a_browser_event_that_the_page_does_not_send_is_refused(event: Any) -> None:
    with pytest.raises(HTTPException):
        validate(event)


def test_browser_events_are_counted_and_bounded(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(UPSTREAM_API_GATEWAY="http://api-gateway:1")
    browser = Browser(build_frontend(telemetry))
    good = [
        {"type": "vital", "vital": "LCP", "value": 2.0},
        {"type": "vital", "vital": "CLS", "value": 0.2},
        {"type": "error", "kind": "script", "message": "TypeError"},
    ]
    assert browser.post("/events", json={"events": good}).status_code == 204
    value = telemetry.metrics.registry.get_sample_value
    assert value("frontend_web_vital_seconds_sum", {"vital": "LCP"}) == 2.0
    assert value("frontend_layout_shift_score_sum") == 0.2
    assert value("frontend_errors_total", {"kind": "script"}) == 1
    assert browser.post("/events", json={"events": good * 20}).status_code == 400
    assert browser.post("/events", content=b"x" * 17_000).status_code == 413
    assert browser.post("/events", json={"events": [*good, {}]}).status_code == 400
    assert value("frontend_errors_total", {"kind": "script"}) == 1


def test_the_page_and_its_script_are_served_and_counted(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(UPSTREAM_API_GATEWAY="http://api-gateway:1")
    browser = Browser(build_frontend(telemetry))
    page = browser.get("/chat")
    assert '<script src="/page.js"' in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "sendBeacon" in browser.get("/page.js").text
    assert telemetry.metrics.registry.get_sample_value("frontend_page_views_total", {"page": "chat"}) == 1


def test_files_are_processed_by_their_kind() -> None:
    assert process_file("a.csv", "name,count\nx,1\ny,2\n")["records"] == 2
    assert process_file("a.json", "[1, 2, 3]")["records"] == 3
    assert process_file("a.txt", "one\ntwo")["records"] == 2
    for name, content in (("a.json", "{"), ("a.csv", "a,b\n1\n")):
        with pytest.raises(WorkFailed):
            process_file(name, content)


@pytest.mark.parametrize("workflow", [name for name in WORKFLOWS if name != "fulfilment"])
def test_a_workflow_without_content_fails(workflow: str) -> None:
    with pytest.raises(WorkFailed):
        WORKFLOWS[workflow](" ")


def test_workflows_do_their_work() -> None:
    assert WORKFLOWS["summary"]("Short. A longer sentence. Tiny.")["summary"] == "Short. A longer sentence."
    assert WORKFLOWS["post_fetch"]("<h1> One </h1><h1>Two</h1>")["posts"] == ["One", "Two"]
    assert WORKFLOWS["pdf_generation"]("A (title)")["bytes"] > 400
    with pytest.raises(WorkFailed, match="cannot be shipped"):
        WORKFLOWS["fulfilment"]("unshippable")


def test_each_stage_of_a_review_finds_what_it_looks_for() -> None:
    text = "the the end \nTODO later\n" + "x" * 121
    assert {stage: len(check(text)) for stage, check in STAGES.items()} == {
        "layout": 2,
        "leftovers": 1,
        "repetition": 1,
    }


def test_passwords_are_verified_and_no_two_hashes_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "N", 2**4)

    async def run() -> None:
        first, second = [await passwords.hash_password("hunter2hunter2") for _ in range(2)]
        assert first != second
        assert "hunter2" not in first
        monkeypatch.setattr(passwords, "N", 2**5)
        assert await passwords.verify_password("hunter2hunter2", first)
        assert not await passwords.verify_password("hunter3hunter3", first)

    asyncio.run(run())


def test_the_simulated_airtable_refuses_the_sixth_request_of_a_second(make_telemetry: MakeTelemetry) -> None:
    browser = Browser(build_simulators(make_telemetry()))
    answers = [browser.get("/v0/base/table") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[0].headers["x-ratelimit-remaining"] == "4"
    assert 0 < float(answers[5].headers["retry-after"]) <= 1
    assert browser.get("/v0/other/table").status_code == 200


@pytest.mark.parametrize(("model", "status"), [("unavailable", 500), ("throttled", 429), ("mistral-small", 200)])
def test_the_simulated_provider_does_what_its_model_says(
    make_telemetry: MakeTelemetry, model: str, status: int
) -> None:
    browser = Browser(build_simulators(make_telemetry(TRAFFIC_SEED="1")))
    body = {"model": model, "messages": [{"role": "user", "content": "one two three"}]}
    answer = browser.post("/v1/chat/completions", json=body)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["choices"][0]["message"]["content"] == "three two one"
        assert answer.json()["usage"] == {"prompt_tokens": 3, "completion_tokens": 3}


def test_the_pace_is_kept_however_many_wait() -> None:
    async def run() -> float:
        pace, loop = Pace(200), asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(pace.wait() for _ in range(21)))
        return loop.time() - start

    assert 0.1 <= asyncio.run(run()) < 1


def test_the_page_has_no_inline_script_that_its_policy_would_stop() -> None:
    html = (Path(__file__).parents[3] / "services" / "frontend" / "page.html").read_text()
    assert html.count("<script") == html.count('<script src="')
