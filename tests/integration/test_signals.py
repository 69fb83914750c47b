"""The table service × signal: each of the eight shows each signal on the running stack."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest
import yaml

from api_gateway.limits import CLASSES
from lookout.model import load
from lookout.project import Project
from lookout.render import ROOT
from lookout.verify.http import get_json
from lookout.verify.polling import NotYet, poll_until
from tests.integration.clients import Asked, ask_as
from tests.integration.journeys import JOURNEYS, kept_traceparent, travel

SERVICES = [service.name for service in load([ROOT / "stack.yaml"]).bundled]
CONTRACT: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (ROOT / "services" / "contract.yaml").read_text(encoding="utf-8")
)
PROMISED = [(service, metric) for service in SERVICES for metric in CONTRACT["all"] + CONTRACT.get(service, [])]
METRICS = [
    pytest.param(service, metric["name"], metric["type"], tuple(metric["labels"]), id=f"{service}-{metric['name']}")
    for service, metric in PROMISED
]
COUNTED = {"counter": "", "histogram": "_count"}
"""What is put to the name of a metric of each type that counts for the series of its count."""

UNCOUNTED = {
    "spans_dropped_total": "the collector takes every span",
    "audit_failures_total": "the audit log can be written",
    "llm_fallbacks_total": "the circuit of every provider is closed",
    "job_results_dropped_total": "Redis has room for every result",
    "saga_resumed_total": "no orchestrator leaves a saga behind",
}
"""What stays at 0 while all is well, and why."""

OF_A_TARGET = {"__name__", "service", "job", "instance", "team", "tier"}
"""Labels beside those of the contract: the metric's name, and what is put on all that is scraped from a service."""

PARTS = ("_bucket", "_count", "_sum")
OF_EVERY_PROCESS = {"process_virtual_memory_bytes", "process_open_fds", "process_max_fds"}
"""Not promised, but exposed: what the client library knows of its process beside what the contract names."""

OF_EVERY_SCRAPE = {
    "up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
}  # fmt: skip
"""Made by Prometheus, not exposed by the service."""

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("service", SERVICES)
def test_its_target_is_up(stack: Project, service: str) -> None:
    assert [result["value"][1] for result in stack.live.query(f'up{{job="services", service="{service}"}}')] == ["1"]


@pytest.mark.parametrize(("service", "metric", "kind", "labels"), METRICS)
def test_it_exposes_the_metric_of_the_contract_with_its_labels(
    stack: Project, service: str, metric: str, kind: str, labels: tuple[str, ...]
) -> None:
    series = f"{metric}_bucket" if kind == "histogram" else metric

    def ask() -> list[dict[str, Any]]:
        found = stack.live.query(f'{series}{{service="{service}"}}')
        if not found:
            raise NotYet(f"no series {series} of {service}")
        return found

    found = poll_until(ask, f"{metric} of {service}", within=120, every=2)
    wanted = {*OF_A_TARGET, *labels, *(["le"] if kind == "histogram" else [])}
    other = [set(result["metric"]) ^ wanted for result in found if set(result["metric"]) != wanted]
    assert not other, f"labels that are missing or not in the contract: {other[0]}"


def seldom() -> list[Asked]:
    """What visitors do too, but not within any two minutes.

    At the end more logins than a client may try in a minute, whenever that minute ends.
    """
    chat = {"message": f"What is a trace? {uuid.uuid4().hex}", "model": "mistral-small", "stream": True}
    posts: list[tuple[str, dict[str, Any]]] = [
        ("/api/chat", chat),
        *((f"/api/tools/{tool}", {"text": "budget"}) for tool in ("remember", "search", "review", "summarize")),
        *[("/api/session", {})] * (2 * CLASSES["login"] + 1),
    ]
    return [{"method": "POST", "path": path, "body": json.dumps(body)} for path, body in posts]


def test_all_that_a_service_counts_is_counted_by_traffic(stack: Project) -> None:
    wanted = {
        (service, metric["name"] + COUNTED[metric["type"]])
        for service, metric in PROMISED
        if metric["type"] in COUNTED and metric["name"] not in UNCOUNTED
    }
    answers = [status for status, _ in ask_as(stack, "192.0.2.249", seldom())]
    assert answers[:5] == [200] * 5
    assert set(answers[5:]) == {400, 429}

    def ask() -> None:
        counts = stack.live.query('sum by (service, __name__) ({job="services", __name__=~".+_(total|count)"}) > 0')
        counted = {(count["metric"]["service"], count["metric"]["__name__"]) for count in counts}
        if missing := sorted(wanted - counted):
            raise NotYet("not above 0: " + ", ".join(f"{name} of {service}" for service, name in missing))

    poll_until(ask, "counts of all that the contract promises", within=120, every=2)


def test_what_stays_uncounted_while_all_is_well_is_a_count_of_the_contract() -> None:
    assert set(UNCOUNTED) <= {metric["name"] for _, metric in PROMISED if metric["type"] in COUNTED}


@pytest.mark.parametrize("service", SERVICES)
def test_it_exposes_no_metric_that_is_not_in_the_contract(stack: Project, service: str) -> None:
    promised = {
        name
        for metric in CONTRACT["all"] + CONTRACT[service]
        for name in ([f"{metric['name']}{end}" for end in PARTS] if metric["type"] == "histogram" else [metric["name"]])
    }
    found = {result["metric"]["__name__"] for result in stack.live.query(f'{{job="services", service="{service}"}}')}
    assert "http_requests_total" in found
    assert found - promised - OF_EVERY_PROCESS - OF_EVERY_SCRAPE == set()


@pytest.mark.parametrize("service", SERVICES)
def test_its_health_names_its_dependencies(stack: Project, service: str) -> None:
    answer = httpx.get(f"{stack.live.url(service)}/health", timeout=5)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    model = next(one for one in stack.stack.services if one.name == service)
    assert set(body["dependencies"]) == set(model.depends_on)
    assert {dependency["status"] for dependency in body["dependencies"].values()} <= {"up"}
    assert body["memory_bytes"] > 10_000_000


@pytest.mark.parametrize("service", SERVICES)
def test_the_log_line_of_a_request_is_found_by_its_correlation_id_with_its_trace(stack: Project, service: str) -> None:
    correlation = f"it-{uuid.uuid4().hex}"
    traceparent = kept_traceparent()
    httpx.get(
        f"{stack.live.url(service)}/no-such-page",
        headers={"X-Correlation-ID": correlation, "traceparent": traceparent},
        timeout=5,
    )

    def ask() -> dict[str, Any]:
        lines = stack.live.logs(
            f'{{project="{stack.stack.project}", service="{service}"}} | correlation_id=`{correlation}`'
        )
        if not lines:
            raise NotYet(f"no line of {service} with correlation id {correlation}")
        return dict(json.loads(lines[0][1]))

    line = poll_until(ask, "the log line", within=30)
    assert line["trace_id"] == traceparent.split("-")[1]
    assert line["correlation_id"] == correlation
    assert line["service"] == service


def test_no_label_of_a_log_line_names_what_is_new_with_each_container_or_request(stack: Project) -> None:
    known = {"job", "project", "service", "service_name", "stream", "level", "audit"}
    found = set(get_json(f"{stack.live.url('loki')}/loki/api/v1/labels")["data"])
    assert "service" in found
    assert found <= known


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.name)
def test_the_trace_of_a_journey_crosses_its_services(stack: Project, journey: Any) -> None:
    traceparent = kept_traceparent()
    answer = travel(stack, journey, {"traceparent": traceparent})
    assert answer.status_code == journey.status, answer.text

    def ask() -> dict[str, set[str]]:
        spans = stack.live.trace(traceparent.split("-")[1])
        if not set(journey.crosses) <= set(spans):
            raise NotYet(f"the trace has only {sorted(spans)}")
        return spans

    assert len(poll_until(ask, f"the trace of {journey.name} through {journey.crosses}", within=60, every=1)) >= 3


def test_every_service_is_crossed_by_a_journey() -> None:
    assert {service for journey in JOURNEYS for service in journey.crosses} == set(SERVICES)
