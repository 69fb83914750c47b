"""The model: overlays, what it knows of itself, and its scalar types."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookout.errors import BadModel
from lookout.model import Duration, Percent, Size, Stack, load
from lookout.render import ROOT

CONTRACT_PORTS = {
    "api-gateway": 7000, "frontend": 5173, "llm-orchestrator": 7003, "mcp-server": 7001, "airtable-gateway": 7002,
    "platform-services": 7007, "automation-services": 7006, "saga-orchestrator": 7008,
}  # fmt: skip


def overlaid(tmp_path: Path, text: str) -> Stack:
    """The model of the product with an overlay."""
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(text, encoding="utf-8")
    return load([ROOT / "stack.yaml", overlay])


def test_the_model_of_the_product_has_the_eight_services_on_their_ports() -> None:
    stack = load([ROOT / "stack.yaml"])
    assert {service.name: service.port for service in stack.services} == CONTRACT_PORTS


def test_the_overlay_for_ci_is_a_valid_model() -> None:
    assert load([ROOT / "stack.yaml", ROOT / "stack.ci.yaml"]).project == "lookout-ci"


def test_an_overlay_changes_the_service_that_it_names_and_adds_others(tmp_path: Path) -> None:
    stack = overlaid(
        tmp_path,
        "services:\n  - {name: frontend, tier: standard}\n"
        '  - {name: billing, owner: sales, address: "b.internal:9400"}\n',
    )
    services = {service.name: service for service in stack.services}
    assert services["frontend"].tier == "standard"
    assert services["frontend"].port == CONTRACT_PORTS["frontend"]
    assert services["billing"].target == "b.internal:9400"
    assert len(services) == 9


def test_an_overlay_removes_a_key_with_null(tmp_path: Path) -> None:
    stack = overlaid(tmp_path, "servers: {grafana: null}\npublish: {ports: {grafana: null}}\n")
    assert "grafana" not in stack.running


def test_the_model_cannot_be_changed_after_it_was_read() -> None:
    stack = load([ROOT / "stack.yaml"])
    with pytest.raises(ValueError, match="frozen"):
        stack.project = "other"


def test_faults_are_off_unless_the_model_turns_them_on(tmp_path: Path) -> None:
    assert load([ROOT / "stack.yaml"]).faults_port is None
    assert overlaid(tmp_path, "faults: true\n").faults_port == 7199


@pytest.mark.parametrize(("slow", "wait"), [("1s", "5s"), ("250ms", "4.25s"), ("30s", "34s")])
def test_the_collector_waits_longer_than_it_takes_a_request_to_be_slow(tmp_path: Path, slow: str, wait: str) -> None:
    overlay = f"traces: {{keep: {{slower_than: {slow}}}}}\n"
    assert overlaid(tmp_path, overlay).traces.keep.decided_after == wait


def test_a_trace_store_runs_only_when_it_is_chosen(tmp_path: Path) -> None:
    assert "jaeger" not in load([ROOT / "stack.yaml"]).running
    assert "tempo" not in overlaid(tmp_path, "traces: {stores: [jaeger]}\n").running


def test_traffic_of_no_requests_runs_no_generator(tmp_path: Path) -> None:
    assert "traffic" not in overlaid(tmp_path, "traffic: {rate: 0}\n").running


def test_a_service_is_on_the_data_network_only_when_it_depends_on_a_database() -> None:
    stack = load([ROOT / "stack.yaml"])
    on_data = {service.name for service in stack.bundled if "data" in stack.networks_of(service)}
    assert on_data == {service.name for service in stack.bundled if {"redis", "postgres"} & set(service.depends_on)}
    assert "frontend" not in on_data


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("15s", 15), ("5m", 300), ("15d", 15 * 86400)])
def test_durations_know_their_seconds(text: str, seconds: float) -> None:
    assert Duration(text).seconds == seconds


def test_sizes_and_percentages_know_their_numbers() -> None:
    assert Size("2GiB").mebibytes == 2048
    assert Percent("99.9%").ratio == 0.999


def test_a_problem_names_the_overlay_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(BadModel) as caught:
        overlaid(tmp_path, "retention: {metrics: 15d}\ntraffic: {rate: -1}\n")
    assert [(problem.file.rpartition("/")[2], problem.line) for problem in caught.value.problems] == [
        ("overlay.yaml", 2)
    ]


@pytest.mark.parametrize(
    "reference",
    [
        "grafana/loki:3.7.6",
        "localhost:5000/loki:3.7.6",
        "localhost/loki:3.7.6",
        "Registry.example.com/a/b__c/d.e--f:v1",
        f"a/b:3@sha256:{'0a' * 32}",
        f"localhost:5000/a/b:3@sha256:{'0a' * 32}",
    ],
)
def test_an_image_may_be_of_any_registry_and_have_a_digest(tmp_path: Path, reference: str) -> None:
    overlay = f"images: {{loki: {{reference: '{reference}'}}}}\n"
    assert overlaid(tmp_path, overlay).images["loki"].reference == reference


@pytest.mark.parametrize("name", ["/loki", "a//loki", ".../loki", "Grafana/loki", "a-/loki", "a..b/loki", "a.b:0/loki"])
def test_an_image_that_the_engine_cannot_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadModel, match="expected an image with its tag"):
        overlaid(tmp_path, f"images: {{loki: {{reference: '{name}:3.7.6'}}}}\n")
