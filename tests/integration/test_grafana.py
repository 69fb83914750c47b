"""Grafana itself: datasources answer, the overview is there, each of its panels shows data, and the right data."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from lookout.model import Duration, load
from lookout.project import Project
from lookout.render import ROOT
from lookout.verify import live
from lookout.verify.polling import NotYet, poll_until
from tests.integration.journeys import FAILING, kept_traceparent, travel

pytestmark = pytest.mark.integration

RATE_SECONDS = 60
"""Of the rates in panels: visits of the traffic are bursts, which shorter windows show as such."""

IMAGE = load([ROOT / "stack.yaml"]).images["grafana"].reference


@pytest.fixture
def grafana(stack: Project) -> Project:
    """The stack, where Grafana runs in it."""
    if "grafana" not in stack.stack.running:
        pytest.skip(f"the image {IMAGE} cannot be had, so Grafana is left out")
    return stack


def dashboard(stack: Project) -> dict[str, Any]:
    """The overview as Grafana serves it."""
    return dict(stack.live.grafana("/api/dashboards/uid/overview")["dashboard"])


def panels(stack: Project) -> list[dict[str, Any]]:
    """Its panels that ask something."""
    return [panel for panel in dashboard(stack)["panels"] if panel.get("targets")]


def ask(stack: Project, panel: dict[str, Any], span: int = 300) -> dict[str, list[float]]:
    """Numbers of each query of a panel, asked through Grafana as its page does. Raises NotYet with Grafana's error."""
    services = "|".join(service.name for service in stack.stack.services)
    queries = []
    for target in panel["targets"]:
        # Grafana takes four times the distance of the samples, which a query names where it is not the usual one.
        step = Duration(target.get("interval") or stack.stack.scrape.standard.interval)
        expression = target["expr"]
        for variable, value in (
            ("$service", services),
            ("$__interval", "15s"),
            ("$__rate_interval", f"{max(RATE_SECONDS, 4 * step.seconds):.0f}s"),
        ):
            expression = expression.replace(variable, value)
        queries.append(
            {**target, "expr": expression, "intervalMs": 15000, "maxDataPoints": 100, "datasource": panel["datasource"]}
        )
    now = time.time()
    body = {"queries": queries, "from": str(int((now - span) * 1000)), "to": str(int(now * 1000))}
    password = (stack.folder / "secrets" / "grafana_admin").read_text(encoding="utf-8")
    answer = httpx.post(f"{stack.live.url('grafana')}/api/ds/query", json=body, auth=("admin", password), timeout=20)
    if answer.status_code != 200:
        raise NotYet(f"{panel['title']}: HTTP {answer.status_code}: {answer.text[:300]}")
    return {
        ref: [number for frame in result["frames"] for number in _numbers(frame)]
        for ref, result in answer.json()["results"].items()
    }


def _numbers(frame: dict[str, Any]) -> list[float]:
    """Values of the fields of a frame that hold numbers or, for logs, a 1 for each line."""
    found: list[float] = []
    for field, values in zip(frame["schema"]["fields"], frame["data"]["values"], strict=True):
        if field["type"] == "number":
            found += [float(value) for value in values if value is not None]
        elif field["type"] == "string" and field["name"] == "Line":
            found += [1.0] * len(values)
    return found


def test_every_datasource_answers_through_grafana(grafana: Project) -> None:
    verdicts = {verdict.what: verdict for verdict in live.verdicts(grafana.live, grafana.compose)}
    assert verdicts["datasources"].ok, verdicts["datasources"].missing
    assert verdicts["datasources"].of >= 4


def test_the_overview_is_the_one_that_was_rendered(grafana: Project) -> None:
    rendered = json.loads((grafana.folder / "grafana" / "dashboards" / "overview.json").read_text(encoding="utf-8"))
    assert [panel["title"] for panel in dashboard(grafana)["panels"]] == [
        panel["title"] for panel in rendered["panels"]
    ]


def test_every_panel_shows_data(grafana: Project) -> None:
    travel(grafana, FAILING, {"traceparent": kept_traceparent()})  # so that there is an error to be shown

    def all_shown() -> None:
        empty = [
            f"{panel['title']} ({ref})"
            for panel in panels(grafana)
            for ref, numbers in ask(grafana, panel).items()
            if not numbers
        ]
        if empty:
            raise NotYet(f"no data in: {', '.join(empty)}")

    poll_until(all_shown, "data in every panel", within=120, every=3)


def counted(stack: Project) -> float:
    """Requests that all services say they answered, asked of themselves."""
    total = 0.0
    for service in stack.stack.bundled:
        text = httpx.get(f"{stack.live.url(service.name)}/metrics", timeout=10).text
        total += sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("http_requests_total{"))
    return total


def test_the_numbers_of_the_overview_are_right(grafana: Project) -> None:
    shown = {panel["title"]: panel for panel in panels(grafana)}
    services = len(grafana.stack.services)
    assert {ref: numbers[-1] for ref, numbers in ask(grafana, shown["Services up"]).items()} == {
        "A": services,
        "B": services,
    }
    before, since = counted(grafana), time.time()

    def a_rate_window_has_passed() -> None:
        if time.time() - since < 1.25 * RATE_SECONDS:
            raise NotYet("the window of the panel still holds older requests")

    poll_until(a_rate_window_has_passed, "a window of the panel", within=2 * RATE_SECONDS)
    rate = (counted(grafana) - before) / (time.time() - since)
    panel = ask(grafana, shown["Requests"])["A"][-1]
    assert panel == pytest.approx(rate, rel=0.25), f"the panel says {panel:.2f}/s, the services counted {rate:.2f}/s"
    memory = ask(grafana, shown["Memory by container"], span=120)["A"]
    assert all(1e6 < value < 2e9 for value in memory)
    assert 0 <= ask(grafana, shown["Errors"])["A"][-1] <= 0.2
