"""Every address of the datasource file answers its kinds of query, asked from Grafana's own network."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from lookout import engine, project
from lookout.model import load
from lookout.project import Project
from lookout.render import ROOT, render

pytestmark = pytest.mark.integration

ASK = """
import json, sys, urllib.request
for url in json.load(sys.stdin):
    try:
        print(json.dumps([url, urllib.request.urlopen(url, timeout=5).status, ""]))
    except Exception as error:
        print(json.dumps([url, 0, str(error)]))
"""

QUERIES = {
    "prometheus": [
        "/api/v1/query?query=up", "/api/v1/labels", "/api/v1/label/service/values", "/api/v1/metadata?limit=1",
        "/api/v1/query_range?query=up&start=0&end=15&step=15", "/api/v1/query_exemplars?query=up&start=0&end=1",
        "/api/v1/rules",
    ],
    "loki": [
        "/loki/api/v1/labels", "/loki/api/v1/query_range?query=%7Bjob%3D%22containers%22%7D&limit=1",
        "/loki/api/v1/series",
    ],
    "tempo": ["/api/search?limit=1", "/api/search/tags", "/api/echo"],
    "jaeger": ["/api/services", "/api/traces?service=frontend&limit=1"],
    "alertmanager": ["/api/v2/status", "/api/v2/alerts"],
}  # fmt: skip
"""Kind of datasource → the paths that Grafana asks of it."""


def rendered_datasources(stack: Project) -> list[dict[str, Any]]:
    """The datasource file as it is with Grafana, also on a machine where its image cannot be had."""
    full = load([ROOT / "stack.yaml"])
    model = stack.stack.model_copy(update={"servers": {**stack.stack.servers, "grafana": full.servers["grafana"]}})
    return list(yaml.safe_load(render(model)["grafana/provisioning/datasources/lookout.yaml"])["datasources"])


def test_every_datasource_address_answers_from_grafanas_network(stack: Project) -> None:
    sources = rendered_datasources(stack)
    urls = [source["url"].rstrip("/") + path for source in sources for path in QUERIES[source["type"]]]
    done = engine.run(
        "run", "--rm", "--interactive", "--network", f"{stack.stack.project}_telemetry",
        project.images_of(stack.folder)["services"].reference, "python", "-c", ASK, stdin=json.dumps(urls),
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(urls)
    assert not [answer for answer in answers if answer[1] != 200]


def test_the_file_has_a_datasource_for_each_server_that_can_be_asked(stack: Project) -> None:
    wanted = {"prometheus", "loki", "alertmanager", *stack.stack.traces.stores}
    assert {source["uid"] for source in rendered_datasources(stack)} == wanted
