"""The pages, and what the service makes of what browsers report."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException

from frontend import pages
from frontend.app import build
from frontend.events import BURST, MAX_BODY_BYTES, MAX_EVENTS, validate
from frontend.rate import MAX_CLIENTS, Buckets
from telemetry import Telemetry
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry

UPSTREAM = {"UPSTREAM_API_GATEWAY": "http://api-gateway:1"}
GOOD: list[dict[str, Any]] = [
    {"type": "view", "page": "chat"},
    {"type": "user", "event": "rage_click"},
    {"type": "vital", "vital": "LCP", "value": 2.0},
    {"type": "vital", "vital": "CLS", "value": 0.2},
    {"type": "error", "kind": "script", "message": "TypeError: token=hunter2hunter2"},
]


class Gateway:
    """The gateway, which remembers the targets that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @asynccontextmanager
    async def stream(self, _method: str, url: httpx.URL, **_options: Any) -> AsyncIterator[httpx.Response]:
        self.asked.append(url.raw_path.decode())
        yield httpx.Response(200, json={})


def before(telemetry: Telemetry) -> tuple[Browser, Gateway]:
    """The frontend, and the gateway behind it."""
    gateway = Gateway()
    telemetry.client = lambda *_: gateway  # type: ignore[assignment, method-assign]
    return Browser(build(telemetry)), gateway


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/api/jobs/one?wait=1", "/api/jobs/one?wait=1"),
        ("/api/jobs/%3Fx", "/api/jobs/%3Fx"),
        ("/api/..%252fmetrics", "/api/..%252fmetrics"),
        ("/api//metrics", "/api//metrics"),
        ("/api/a..b", "/api/a..b"),
    ],
)
def test_what_the_page_asks_for_is_passed_on_under_its_prefix(
    make_telemetry: MakeTelemetry, url: str, target: str
) -> None:
    browser, gateway = before(make_telemetry(**UPSTREAM))
    assert browser.get(url).status_code == 200
    assert gateway.asked == [target]


@pytest.mark.parametrize(
    "url", ["/api/..%2fmetrics", "/api/%2e%2e/metrics", "/api/a/%2e/b", "/api/a/..%2F..%2Fmetrics", "/api/%00"]
)
def test_no_path_leads_out_of_the_prefix(make_telemetry: MakeTelemetry, url: str) -> None:
    browser, gateway = before(make_telemetry(**UPSTREAM))
    assert browser.get(url).status_code == 404
    assert gateway.asked == []


def report(telemetry_or_browser: Telemetry | Browser, events: Any, **options: Any) -> httpx.Response:
    browser = telemetry_or_browser
    if isinstance(browser, Telemetry):
        browser = Browser(build(browser))
    return browser.post("/events", json={"visit": "visit-00000001", "page": "chat", "events": events}, **options)


class Tags(HTMLParser):
    """Start tags of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "event",
    [
        None,
        {"type": "click"},
        {"type": ["view"]},
        {"type": "view", "page": "invented"},
        {"type": "view", "page": ["chat"]},
        {"type": "user", "event": "invented"},
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


def test_what_browsers_report_is_counted_and_bounded(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    browser = Browser(build(telemetry))
    value = telemetry.metrics.registry.get_sample_value
    assert value("frontend_user_events_total", {"event": "form_abandoned"}) == 0
    assert report(browser, GOOD).status_code == 204
    assert value("frontend_web_vital_seconds_sum", {"vital": "LCP"}) == 2.0
    assert value("frontend_layout_shift_score_sum") == 0.2
    assert value("frontend_errors_total", {"kind": "script"}) == 1
    assert value("frontend_page_views_total", {"page": "chat"}) == 1
    assert value("frontend_user_events_total", {"event": "rage_click"}) == 1
    assert report(browser, GOOD * 11).status_code == 400
    assert report(browser, [*GOOD, {}]).status_code == 400
    assert report(browser, []).status_code == 400
    too_long = browser.post("/events", content=b"x" * 17_000, headers={"content-type": "application/json"})
    assert too_long.status_code == 413
    assert value("frontend_errors_total", {"kind": "script"}) == 1


def test_the_page_keeps_to_the_bounds_of_a_report() -> None:
    script = (Path(pages.__file__).parent / "static" / "report.js").read_text()
    found = dict(re.findall(r"^const (MAX_EVENTS|MAX_BYTES) = (\d+);$", script, re.MULTILINE))
    assert found == {"MAX_EVENTS": str(MAX_EVENTS), "MAX_BYTES": str(MAX_BODY_BYTES)}


def test_an_error_of_a_browser_is_logged_under_its_visit_and_masked(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    assert report(make_telemetry(**UPSTREAM), GOOD).status_code == 204
    line = next(line for line in log_lines() if line["message"] == "browser error")
    assert (line["correlation_id"], line["page"], line["kind"]) == ("visit-00000001", "chat", "script")
    assert "hunter2" not in line["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 204),
        ({"origin": "http://test", "sec-fetch-site": "same-origin"}, 204),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_only_the_pages_of_this_service_report(
    make_telemetry: MakeTelemetry, headers: dict[str, str], status: int
) -> None:
    answer = report(make_telemetry(**UPSTREAM), GOOD, headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_client_that_reports_too_often_is_told_to_wait(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    browser = Browser(build(telemetry))
    answers = [report(browser, GOOD[:1]) for _ in range(BURST + 20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1


def test_a_bucket_fills_evenly_and_strangers_do_not_fill_the_memory() -> None:
    buckets = Buckets(2, 0.5)
    assert [buckets.wait("a", 0.0) for _ in range(3)] == [0, 0, 2.0]
    assert buckets.wait("b", 0.0) == 0
    assert buckets.wait("a", 1.0) == 1.0
    assert buckets.wait("a", 2.0) == 0
    for number in range(2 * MAX_CLIENTS):
        buckets.wait(str(number), 3.0)
    assert len(buckets._clients) == MAX_CLIENTS


@pytest.mark.parametrize("path", pages.PAGES)
def test_a_page_is_served_with_its_name_and_what_its_policy_allows(make_telemetry: MakeTelemetry, path: str) -> None:
    browser = Browser(build(make_telemetry(**UPSTREAM)))
    page = browser.get(path)
    name, title = pages.PAGES[path]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert f"<title>{title} – Lookout</title>" in page.text
    tags = Tags(page.text).found
    assert next(attributes["data-page"] for tag, attributes in tags if tag == "body") == name
    assert not [attribute for _tag, attributes in tags for attribute in attributes if attribute.startswith("on")]
    assert not [tag for tag, attributes in tags if tag == "style" or "style" in attributes]
    assert all("src" in attributes for tag, attributes in tags if tag == "script")
    current = [attributes["href"] for _tag, attributes in tags if "aria-current" in attributes]
    assert current == ([] if path == "/" else [path])


def test_everything_that_a_page_and_its_modules_load_is_there(make_telemetry: MakeTelemetry) -> None:
    browser = Browser(build(make_telemetry(**UPSTREAM)))
    todo = [re.sub(r"\?.*", "", url) for url in re.findall(r'(?:src|href)="(/static/[^"]+)"', browser.get("/").text)]
    seen: set[str] = set()
    while todo:
        url = todo.pop()
        if url in seen:
            continue
        seen.add(url)
        answer = browser.get(url)
        assert answer.status_code == 200, url
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = browser.get(url, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        if url.endswith(".js"):
            assert answer.headers["content-type"].startswith("text/javascript")
            todo += re.findall(r'from "(/static/[^"]+)"', answer.text)
    assert {"/static/vitals.js", "/static/ids.js", "/static/api.js"} <= seen
    assert browser.get("/static/nothing.js").status_code == 404


def test_every_control_of_the_page_has_a_label(make_telemetry: MakeTelemetry) -> None:
    html = Browser(build(make_telemetry(**UPSTREAM))).get("/").text
    for control in re.finditer(r"<(?:input|select|textarea)\b", html):
        before = html[: control.start()]
        assert before.rindex("<label") > before.rfind("</label>"), html[control.start() : control.start() + 60]
