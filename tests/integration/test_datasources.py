"""The datasources find what is asked of them, as Grafana asks it and from its network; it may itself be left out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from lookout import engine, project
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.dashboards import dashboards, datasources, queries, request, series
from tests.integration.journeys import FAILING, JOURNEYS, kept_traceparent, travel

pytestmark = pytest.mark.integration

SPAN_SECONDS = 300
SPAN = {"service.name": "frontend"}
"""Attributes of the span that is clicked on."""

ASK = """
import json, sys, urllib.request
for url, form in json.load(sys.stdin):
    try:
        body = urllib.request.urlopen(url, form and form.encode(), timeout=20).read().decode()
        print(json.dumps(body if url.endswith("/api/echo") else json.loads(body)))
    except Exception as error:
        print(json.dumps({"refused": str(error)}))
"""

POSTED = ("/api/v1/query", "/api/v1/query_range", "/api/v1/query_exemplars", "/api/v1/labels", "/api/v1/series")
"""What Grafana posts to a datasource whose httpMethod is POST; all else it gets."""

EMPTY_IN_HEALTH = {"Alerts": "no alert fires; test_overview sees the annotation with one that does"}
"""Name of a query that may find nothing → why."""


@dataclass(frozen=True)
class Asked:
    """One thing that Grafana asks of a datasource."""

    name: str
    source: str
    path: str
    parameters: dict[str, str]


def of_the_dashboards(stack: Project) -> Iterator[Asked]:
    """The query of each panel, the exemplars of those that show them, variables and annotations."""
    now = time.time()
    start, times = now - SPAN_SECONDS, {"start": f"{now - SPAN_SECONDS:.3f}", "end": f"{now:.3f}"}
    for query in queries(stack):
        path, parameters = request(query, start, now)
        yield Asked(query.name, query.source, path, parameters)
        if query.target.get("exemplar"):
            exemplars = {"query": query.target["expr"], **times}
            yield Asked(f"exemplars of {query.name}", query.source, "/api/v1/query_exemplars", exemplars)
    for dashboard in dashboards(stack):
        for variable in dashboard["templating"]["list"]:
            match, _, label = variable["query"]["query"][len("label_values(") : -1].rpartition(", ")
            values = {"match[]": match, **times}
            yield Asked(variable["name"], variable["datasource"]["uid"], f"/api/v1/label/{label}/values", values)
        for mark in dashboard["annotations"]["list"]:
            step = {"query": mark["expr"], "step": "15", **times}
            yield Asked(mark["name"], mark["datasource"]["uid"], "/api/v1/query_range", step)


def of_the_links(stack: Project, trace: str) -> Iterator[Asked]:
    """What a click on a span of the frontend asks: its log lines and its metrics."""
    now = time.time()
    for source in datasources(stack):
        lines = source["jsonData"].get("tracesToLogsV2")
        if lines:
            query = lines["query"].replace("${__tags}", tags(lines)).replace("${__trace.traceId}", trace)
            times = {"start": f"{(now - SPAN_SECONDS) * 1e9:.0f}", "end": f"{now * 1e9:.0f}"}
            path = "/loki/api/v1/query_range"
            yield Asked(f"logs of a trace in {source['uid']}", lines["datasourceUid"], path, {"query": query, **times})
        metrics = source["jsonData"].get("tracesToMetrics", {"queries": ()})
        for link in metrics["queries"]:
            query = link["query"].replace("$__tags", tags(metrics))
            yield Asked(link["name"], metrics["datasourceUid"], "/api/v1/query", {"query": query})


def tags(link: dict[str, Any]) -> str:
    """The matchers that Grafana makes of a span of the frontend: an attribute of it under the name of a label."""
    return ", ".join(f'{tag["value"]}="{SPAN[tag["key"]]}"' for tag in link["tags"])


def of_its_pages(stack: Project, trace: str) -> Iterator[Asked]:
    """What Grafana's own pages ask of each kind of datasource: what there is, and one trace."""
    start, end = str(int(time.time() - SPAN_SECONDS)), str(int(time.time()) + 5)
    seconds = {"start": start, "end": end}
    pages: dict[str, list[tuple[str, dict[str, str]]]] = {
        "prometheus": [
            ("/api/v1/labels", seconds),
            ("/api/v1/series", {"match[]": "up", **seconds}),
            ("/api/v1/metadata", {"limit": "1"}),
            ("/api/v1/rules", {}),
        ],
        "loki": [
            ("/loki/api/v1/labels", seconds),
            ("/loki/api/v1/label/service/values", seconds),
            ("/loki/api/v1/series", {"match[]": '{service="frontend"}', **seconds}),
        ],
        "tempo": [
            ("/api/echo", {}),
            ("/api/search/tags", {}),
            ("/api/v2/search/tags", {}),
            ("/api/v2/search/tag/resource.service.name/values", {}),
            ("/api/search", {"q": '{resource.service.name="frontend" && status=error}', "limit": "1", **seconds}),
            (f"/api/traces/{trace}", {}),
        ],
        "jaeger": [
            ("/api/services", {}),
            ("/api/services/frontend/operations", {}),
            ("/api/traces", {"service": "frontend", "limit": "1", "tags": '{"error":"true"}'}),
            (f"/api/traces/{trace}", {}),
        ],
        "alertmanager": [("/api/v2/status", {}), ("/api/v2/alerts", {}), ("/api/v2/alerts/groups", {})],
    }
    for source in datasources(stack):
        for path, parameters in pages[source["type"]]:
            yield Asked(path, source["uid"], path, parameters)


def answers(stack: Project, asked: list[Asked]) -> list[Any]:
    """The answer to each, in JSON, asked from Grafana's network."""
    sources = {source["uid"]: source for source in datasources(stack)}
    calls = []
    for one in asked:
        source, form = sources[one.source], urlencode(one.parameters)
        url = source["url"].rstrip("/") + one.path
        posted = source["jsonData"].get("httpMethod") == "POST" and one.path in POSTED
        calls.append((url, form) if posted else (f"{url}?{form}" if form else url, None))
    done = engine.run(
        "run", "--rm", "--interactive", "--network", f"{stack.stack.project}_telemetry",
        project.images_of(stack.folder)["services"].reference, "python", "-c", ASK, stdin=json.dumps(calls),
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(asked)
    return found


def content(answer: Any) -> Any:
    """What an answer holds, without what is wrapped around it; a number that is none is nothing."""
    if isinstance(answer, dict) and "resultType" in answer.get("data", ()):
        return [found for found in series(answer) if found.points or found.lines]
    for key in ("data", "groups", "traces", "tagNames", "tagValues", "scopes", "batches"):
        if isinstance(answer, dict) and key in answer:
            answer = answer[key]
    return answer


def test_the_datasources_find_all_that_grafana_asks(stack: Project) -> None:
    sent = kept_traceparent()
    for journey in (FAILING, *JOURNEYS):
        travel(stack, journey, {"traceparent": sent})
    trace = sent.split("-")[1]

    def all_found() -> None:
        asked = [*of_the_dashboards(stack), *of_the_links(stack, trace), *of_its_pages(stack, trace)]
        pairs = list(zip(asked, answers(stack, asked), strict=True))
        refused = {one.name: answer["refused"] for one, answer in pairs if "refused" in answer}
        if refused:
            raise NotYet(str(refused))
        empty = [one.name for one, answer in pairs if not content(answer) and one.name not in EMPTY_IN_HEALTH]
        if empty:
            raise NotYet(f"nothing is found by: {', '.join(empty)}")

    poll_until(all_found, "something to each query", within=120, every=2)


def test_the_file_has_a_datasource_for_each_server_that_can_be_asked(stack: Project) -> None:
    wanted = {"prometheus", "loki", "alertmanager", *stack.stack.traces.stores}
    assert {source["uid"] for source in datasources(stack)} == wanted
