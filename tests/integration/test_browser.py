"""The page in headless Chromium: it works, and what the browser reports arrives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.browser import chromium

pytestmark = pytest.mark.integration

VITALS = ("LCP", "INP", "FCP", "TTFB")
SHIFT = """() => {
    const block = document.createElement("div");
    block.style.height = "400px";
    document.getElementById("main").prepend(block);
}"""
BUSY_SECONDS = 0.15
BUSY = """(milliseconds) => document.querySelector("#chat button").addEventListener("click", () => {
    const until = performance.now() + milliseconds;
    while (performance.now() < until);
})"""
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@contextmanager
def quiet(stack: Project) -> Iterator[None]:
    """No traffic meanwhile: it reports as browsers do, and what a browser reports could not be told from it."""
    stack.compose("stop", "traffic")
    try:
        yield
    finally:
        stack.compose("start", "traffic")

    def healthy() -> None:
        health = stack.compose.containers()["traffic"]["State"]["Health"]["Status"]
        if health != "healthy":
            raise NotYet(f"traffic is {health}")

    poll_until(healthy, "traffic again", within=60)


@pytest.fixture(scope="module")
def browser(stack: Project) -> Iterator[Browser]:
    with quiet(stack), chromium(stack) as found:
        yield found


@pytest.fixture
def page(browser: Browser, stack: Project) -> Iterator[Page]:
    context = browser.new_context(base_url=f"http://frontend:{stack.stack.port_of('frontend')}")
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


Samples = dict[str, float]


def samples(stack: Project) -> Samples:
    """Samples of the frontend's own metrics, by name and labels but for the service."""
    text = httpx.get(f"{stack.live.url('frontend')}/metrics", timeout=10).text
    found = re.findall(r"^(frontend_\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
    return {
        f"{name}{{{','.join(one for one in labels.split(',') if not one.startswith('service='))}}}": float(value)
        for name, labels, value in found
        if not name.endswith("_bucket")
    }


def moved(stack: Project, before: Samples, enough: Callable[[Samples], bool]) -> Samples:
    """By how much samples have risen, as soon as that is enough."""

    def ask() -> Samples:
        risen = {name: value - before.get(name, 0) for name, value in samples(stack).items()}
        risen = {name: value for name, value in risen.items() if value}
        if not enough(risen):
            raise NotYet(f"moved so far: {risen}")
        return risen

    return poll_until(ask, "what the browser reports", within=20)


def test_errors_vitals_and_views_of_a_real_browser_arrive_with_plausible_values(stack: Project, page: Page) -> None:
    before = samples(stack)
    page.goto("/chat")
    page.evaluate(SHIFT)
    page.evaluate(FRAMES)
    page.evaluate(BUSY, BUSY_SECONDS * 1000)
    page.get_by_label("Message").fill("Why do browsers report?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#talk li[data-from=mistral-small]")).to_contain_text("Why")
    page.evaluate("() => { setTimeout(() => { throw new TypeError('on purpose'); }, 0); }")
    page.evaluate("() => { Promise.reject(new Error('on purpose too')); }")
    page.get_by_role("link", name="Orders").click()
    page.get_by_label("Amount").fill("12.5")
    page.get_by_role("button", name="Place the order").click()
    expect(page.locator("#placed td").last).to_have_text("completed")
    page.close()

    lcp = 'frontend_web_vital_seconds_count{vital="LCP"}'
    risen = moved(stack, before, lambda risen: risen.get(lcp) == 2)
    assert risen['frontend_page_views_total{page="chat"}'] == 1
    assert risen['frontend_page_views_total{page="orders"}'] == 1
    assert risen['frontend_errors_total{kind="script"}'] == 1
    assert risen['frontend_errors_total{kind="promise"}'] == 1
    assert {name for name in risen if name.startswith("frontend_errors_total")} == {
        'frontend_errors_total{kind="script"}',
        'frontend_errors_total{kind="promise"}',
    }
    assert {risen[f'frontend_web_vital_seconds_count{{vital="{vital}"}}'] for vital in VITALS} == {2}
    means = {vital: risen[f'frontend_web_vital_seconds_sum{{vital="{vital}"}}'] / 2 for vital in VITALS}
    print("means in seconds:", means, "shifts:", risen["frontend_layout_shift_score_sum{}"])
    assert 0 < means["TTFB"] < means["FCP"] < means["LCP"] + 0.001 < 20
    assert BUSY_SECONDS <= 2 * means["INP"] < 10
    assert risen["frontend_layout_shift_score_count{}"] == 2
    assert 0.05 < risen["frontend_layout_shift_score_sum{}"] < 1
    assert risen['frontend_user_events_total{event="visit"}'] == 1
    assert risen['frontend_user_events_total{event="form_submitted"}'] == 2


def test_errors_that_are_too_long_for_one_report_arrive_in_several(stack: Project, page: Page) -> None:
    before = samples(stack)
    page.goto("/chat")
    # Three bytes each in UTF-8, 30 KiB in all.
    page.evaluate("() => { for (let n = 0; n < 20; n += 1) Promise.reject('語'.repeat(500)); }")
    page.close()
    errors = 'frontend_errors_total{kind="promise"}'
    assert moved(stack, before, lambda risen: risen.get(errors, 0) >= 20)[errors] == 20


def test_the_trace_and_the_logs_of_a_call_begin_in_the_browser(stack: Project, page: Page) -> None:
    before = samples(stack)
    page.goto("/chat")
    page.get_by_label("Model").select_option("unavailable")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#chat .notice")).to_contain_text("answered")
    visit, trace_id = page.locator("#visit").inner_text(), page.locator("#trace").inner_text()
    page.close()
    moved(stack, before, lambda risen: risen.get('frontend_errors_total{kind="api"}') == 1)

    def crossed() -> None:
        spans = stack.live.trace(trace_id)
        if not {"frontend", "api-gateway", "llm-orchestrator"} <= set(spans):
            raise NotYet(f"the trace has only {sorted(spans)}")

    poll_until(crossed, f"the trace {trace_id} of the browser", within=60, every=1)

    def logged() -> None:
        services = {
            labels["service"]
            for _, _, labels in stack.live.logs(
                f'{{project="{stack.stack.project}", service=~".+"}} | correlation_id=`{visit}`'
            )
        }
        if not {"frontend", "api-gateway", "llm-orchestrator"} <= services:
            raise NotYet(f"only {services} logged the visit")
        reported = (
            f'{{project="{stack.stack.project}", service="frontend"}} | correlation_id=`{visit}` |= `browser error`'
        )
        if not stack.live.logs(reported):
            raise NotYet("the browser's error is not logged under its visit")

    poll_until(logged, f"the log lines of {visit}", within=30, every=1)


def test_what_annoys_users_is_counted(stack: Project, page: Page) -> None:
    before = samples(stack)
    page.goto("/records")
    page.get_by_role("button", name="Reload").click(click_count=3)
    page.get_by_label("Name").fill("never sent")
    page.close()
    abandoned = 'frontend_user_events_total{event="form_abandoned"}'
    risen = moved(stack, before, lambda risen: bool(risen.get(abandoned)))
    assert risen['frontend_user_events_total{event="rage_click"}'] == 1
    assert risen[abandoned] == 1


def test_the_policy_of_the_page_stops_what_does_not_belong_to_it_and_reports_it(stack: Project, page: Page) -> None:
    before = samples(stack)
    page.goto("/account")
    page.evaluate(
        "() => { document.body.append(Object.assign(new Image(), {src: 'http://elsewhere.invalid/x.png'})); }"
    )
    page.evaluate("() => { document.body.append(Object.assign(new Image(), {src: '/static/missing.png'})); }")
    refused = page.evaluate("""() => {
        const script = document.createElement("script");
        try { script.text = "window.injected = true"; } catch (error) { return error.name; }
        document.body.append(script);
        return String(window.injected);
    }""")
    assert refused in ("TypeError", "undefined")
    page.wait_for_load_state("networkidle")
    page.close()
    missing = 'frontend_errors_total{kind="resource"}'
    risen = moved(stack, before, lambda risen: bool(risen.get(missing)))
    assert risen['frontend_errors_total{kind="csp"}'] >= 2


def test_a_job_whose_result_was_dropped_has_ended(page: Page) -> None:
    job, why = "job-of-a-test", "the result has made room for newer jobs"
    dropped = {"error": {"code": "result_dropped", "message": why}, "id": job, "state": "succeeded"}
    page.route("**/api/jobs", lambda route: route.fulfill(status=202, json={"id": job, "state": "queued"}))
    page.route(f"**/api/jobs/{job}", lambda route: route.fulfill(status=410, json=dropped))
    page.goto("/jobs")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#started td[data-state=succeeded]")).to_be_visible()
    expect(page.locator("#started td").last).to_have_text(why)


def test_a_person_registers_logs_in_and_out(page: Page, stack: Project) -> None:
    email = f"person-{stack.stack.project}@lookout.invalid"
    page.goto("/account")
    for button, answer in (("Register", "Registered"), ("Log in", "Logged in")):
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Password").fill("a long enough password")
        page.get_by_role("button", name=button).click()
        expect(page.locator("#account .notice")).to_contain_text(answer)
    expect(page.locator("#who")).to_have_text(email)
    page.goto("/jobs")
    expect(page.locator("#who")).to_have_text(email)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#started td[data-state=succeeded]")).to_be_visible()
    page.goto("/account")
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#who")).to_have_text("Log in")
