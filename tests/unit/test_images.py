"""Where images come from."""

from __future__ import annotations

import pytest

from lookout import engine, images, recipes
from lookout.errors import Unsatisfied
from lookout.images import Choice, Source, effective, registry_of
from lookout.model import Stack, load
from lookout.render import ROOT


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("postgres:18.4", "docker.io"),
        ("prom/prometheus:v3.13.2", "docker.io"),
        ("quay.io/prometheuscommunity/postgres-exporter:v0.19.1", "quay.io"),
        ("localhost:5000/grafana/grafana:13.1.3", "localhost:5000"),
        ("localhost/grafana:13.1.3", "localhost"),
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


def without_jaeger(stack: Stack) -> Stack:
    """The model without what can take Tempo's place."""
    servers = {name: server for name, server in stack.servers.items() if name != "jaeger"}
    return stack.model_copy(update={"servers": servers})


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
    play(monkeypatch, "grafana/")
    with pytest.raises(Unsatisfied) as refused:
        effective(without_jaeger(stack), "auto", False, quiet)
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


class Machine:
    """An engine's store, what a registry has, and what was pulled and built, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store: set[str] = set()
        self.registry: set[str] = set()
        self.done: list[str] = []
        monkeypatch.setattr(engine, "has_image", lambda reference: reference in self.store)
        monkeypatch.setattr(engine, "pull", self._pull)
        monkeypatch.setattr(recipes, "build", self._build)

    def _pull(self, reference: str) -> str | None:
        self.done.append(f"pull {reference}")
        if reference not in self.registry:
            return "manifest unknown"
        self.store.add(reference)
        return None

    def _build(self, recipe: str, base: str | None, _say: object) -> str:
        tag = recipes.tag(recipe, base)
        if tag not in self.store:
            self.done.append(f"build {recipe} on {base}")
            self.store.add(tag)
        return tag


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """An empty store, and a registry that has nothing."""
    return Machine(monkeypatch)


def obtain(stack: Stack, name: str, source: Source) -> Choice:
    """The choice for one image, in a run of its own."""
    return images.obtain(stack, [name], source, quiet)[name]


DEBIAN = "debian:trixie-slim"
OWN = recipes.tag("debian")


def on_base(stack: Stack, reference: str) -> Stack:
    """The model with another image of Debian."""
    debian = stack.images["debian"].model_copy(update={"reference": reference})
    return stack.model_copy(update={"images": {**stack.images, "debian": debian}})


def test_a_local_image_stands_on_debians_own_where_that_can_be_pulled(stack: Stack, machine: Machine) -> None:
    machine.registry = {DEBIAN}
    choice = obtain(stack, "services", "auto")
    assert machine.done == [f"pull {DEBIAN}", f"build services on {DEBIAN}"]
    assert choice.origin == "built"
    assert obtain(stack, "services", "auto").origin == "store"
    assert len(machine.done) == 2


def test_another_base_is_another_image_which_is_built(stack: Stack, machine: Machine) -> None:
    machine.registry = {DEBIAN, "debian:forky-slim"}
    first = obtain(stack, "services", "auto")
    assert images.would_use(on_base(stack, "debian:forky-slim"), "auto")[-2].origin == "to build"
    second = obtain(on_base(stack, "debian:forky-slim"), "services", "auto")
    assert first.use != second.use
    assert machine.done[-2:] == ["pull debian:forky-slim", "build services on debian:forky-slim"]


def test_without_debians_own_the_base_is_made_of_packages_once(stack: Stack, machine: Machine) -> None:
    obtain(stack, "services", "auto")
    assert machine.done == [f"pull {DEBIAN}", "build debian on None", f"build services on {OWN}"]
    machine.store.remove(OWN)  # as by `docker image prune`
    obtain(stack, "services", "auto")
    images.build(stack, "services", "auto", quiet)
    assert machine.done[3:] == [f"pull {DEBIAN}"] * 2


def test_an_image_on_a_base_made_of_packages_makes_way_once_debians_own_can_be_had(
    stack: Stack, machine: Machine
) -> None:
    obtain(stack, "services", "auto")
    machine.registry = {DEBIAN}
    obtain(stack, "services", "auto")
    assert machine.done[-1] == f"build services on {DEBIAN}"


def test_local_images_stand_on_nothing_that_was_pulled(stack: Stack, machine: Machine) -> None:
    machine.registry = {DEBIAN}
    obtain(stack, "services", "auto")
    obtain(stack, "services", "local")
    assert machine.done[-2:] == ["build debian on None", f"build services on {OWN}"]


def test_what_cannot_be_pulled_is_tried_once_in_a_run(stack: Stack, machine: Machine) -> None:
    with pytest.raises(Unsatisfied, match="no image of a trace store"):
        effective(without_jaeger(stack), "auto", False, quiet)
    pulls = [line for line in machine.done if line.startswith("pull")]
    assert f"pull {DEBIAN}" in pulls
    assert len(pulls) == len(set(pulls))


def test_showing_images_pulls_nothing_and_finds_what_was_built_on_either_base(stack: Stack, machine: Machine) -> None:
    def origin() -> str:
        [choice] = [choice for choice in images.would_use(stack, "auto") if choice.name == "services"]
        return choice.origin

    assert origin() == "to build"
    for base in (OWN, DEBIAN):
        machine.store = {recipes.tag("services", base)}
        assert origin() == "store"
        assert images.built(stack, "services", "auto") == recipes.tag("services", base)
    assert images.built(stack, "services", "local") is None
    assert machine.done == []


def test_without_a_base_what_stands_on_it_is_refused_with_the_reason(stack: Stack, machine: Machine) -> None:
    with pytest.raises(Unsatisfied) as refused:
        obtain(stack, "services", "registry")
    assert str(refused.value) == (
        f"services cannot be built here without its base: {DEBIAN} cannot be pulled: manifest unknown"
    )
    assert obtain(stack, "probe", "registry").origin == "built"
    assert machine.done == [f"pull {DEBIAN}", "build probe on None"]
