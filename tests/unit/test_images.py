"""Where images come from."""

from __future__ import annotations

import pytest

from lookout import engine, recipes
from lookout.errors import Unsatisfied
from lookout.images import effective, registry_of
from lookout.model import Stack, load
from lookout.render import ROOT


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("postgres:18.4", "docker.io"),
        ("prom/prometheus:v3.13.2", "docker.io"),
        ("quay.io/prometheuscommunity/postgres-exporter:v0.19.1", "quay.io"),
        ("localhost:5000/grafana/grafana:13.1.3", "localhost:5000"),
    ],
)
def test_the_registry_of_a_reference_is_its_first_part_where_that_is_a_host(reference: str, registry: str) -> None:
    assert registry_of(reference) == registry


@pytest.fixture
def stack() -> Stack:
    """The model of the product."""
    return load([ROOT / "stack.yaml"])


def play(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    """An engine that has all images but those of these names, and a machine on which those cannot be built either."""

    def build(recipe: str, *_rest: object) -> str:
        raise Unsatisfied(f"{recipe} cannot be built here")

    monkeypatch.setattr(engine, "has_image", lambda reference: not any(name in reference for name in absent))
    monkeypatch.setattr(engine, "pull", lambda _reference: "not found")
    monkeypatch.setattr(engine, "run", lambda *_arguments, **_options: None)
    monkeypatch.setattr(recipes, "build", build)


def quiet(_text: str) -> None:
    """Says nothing."""


def test_what_cannot_be_had_is_left_out_with_its_port_and_says_how_to_supply_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, "grafana/grafana")
    chosen = effective(stack, "auto", False, quiet)
    assert chosen.left_out == ("grafana",)
    assert "grafana" not in chosen.stack.running
    assert "grafana" not in chosen.stack.publish.ports
    assert chosen.notes == (
        "left out: grafana (grafana/grafana:13.1.3 cannot be pulled: not found; docs/images.md says how to supply it)",
    )
    with pytest.raises(Unsatisfied, match="--strict, and not everything can be had:\n  left out: grafana"):
        effective(stack, "auto", True, quiet)


def test_jaeger_takes_the_place_of_a_trace_store_that_cannot_be_had(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, "grafana/tempo")
    chosen = effective(stack, "auto", False, quiet)
    assert chosen.stack.traces.stores == ("jaeger",)
    assert chosen.notes[0] == "Jaeger is the trace store in the place of tempo"
    assert "tempo" not in chosen.images
    assert "jaeger" in chosen.images


def test_without_any_trace_store_the_reasons_are_those_of_the_stores(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {name: server for name, server in stack.servers.items() if name != "jaeger"}
    play(monkeypatch, "grafana/")
    with pytest.raises(Unsatisfied) as refused:
        effective(stack.model_copy(update={"servers": servers}), "auto", False, quiet)
    assert str(refused.value) == (
        "no image of a trace store can be had: grafana/tempo:3.0.3 cannot be pulled: not found; "
        "docs/images.md says how to supply it"
    )


def test_without_an_image_that_nothing_replaces_nothing_runs_and_that_one_is_named(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {**stack.images, "prometheus": stack.images["prometheus"].model_copy(update={"recipe": None})}
    play(monkeypatch, "prom/prometheus", "grafana/grafana")
    with pytest.raises(Unsatisfied) as refused:
        effective(stack.model_copy(update={"images": images}), "auto", False, quiet)
    assert str(refused.value) == (
        "nothing runs without the image prometheus (prom/prometheus:v3.13.2 cannot be pulled: not found); "
        "docs/images.md says how to supply it"
    )
