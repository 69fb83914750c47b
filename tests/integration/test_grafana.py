"""Grafana itself: datasources answer, the overview is there, and each of its panels shows data."""

from __future__ import annotations

from typing import Any

import pytest

from lookout.model import load
from lookout.project import Project
from lookout.render import ROOT
from lookout.verify import live
from lookout.verify.polling import NotYet, poll_until
from tests.integration.dashboards import ask, dashboards, queries
from tests.integration.journeys import FAILING, kept_traceparent, travel

pytestmark = pytest.mark.integration

IMAGE = load([ROOT / "stack.yaml"]).images["grafana"].reference


@pytest.fixture
def grafana(stack: Project) -> Project:
    """The stack, where Grafana runs in it."""
    if "grafana" not in stack.stack.running:
        pytest.skip(f"the image {IMAGE} cannot be had, so Grafana is left out")
    return stack


def test_every_datasource_answers_through_grafana(grafana: Project) -> None:
    verdicts = {verdict.what: verdict for verdict in live.verdicts(grafana.live, grafana.compose)}
    assert verdicts["datasources"].ok, verdicts["datasources"].missing
    assert verdicts["datasources"].of >= 4


def test_the_dashboards_are_those_that_were_rendered(grafana: Project) -> None:
    def asked(dashboard: dict[str, Any]) -> list[tuple[str, list[str]]]:
        """Titles of the panels with what they ask."""
        return [(one["title"], [target["expr"] for target in one.get("targets", ())]) for one in dashboard["panels"]]

    for rendered in dashboards(grafana):
        served = grafana.live.grafana(f"/api/dashboards/uid/{rendered['uid']}")["dashboard"]
        assert asked(served) == asked(rendered)


def test_every_panel_shows_data(grafana: Project) -> None:
    travel(grafana, FAILING, {"traceparent": kept_traceparent()})  # so that there is an error to be shown

    def all_shown() -> None:
        empty = [query.name for query in queries(grafana) if not ask(grafana, query)]
        if empty:
            raise NotYet(f"no data in: {', '.join(empty)}")

    poll_until(all_shown, "data in every panel", within=120, every=3)
