import asyncio
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from discoverer.app import Discoverer, build, create, serve
from discoverer.labels import Malformed, read
from telemetry import SettingsError, Telemetry
from tests.unit.services.engine import Engine, container, proxied
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry

BILLING = {"targets": ["billing-1:9400"], "labels": {"service": "billing", "team": "payments", "tier": "standard"}}


class World:
    """A discoverer behind the real proxy, before a simulated engine."""

    def __init__(self, engine: Engine, port: int, make: MakeTelemetry, folder: Path) -> None:
        self.engine = engine
        self.file = folder / "services.json"
        self._make = make
        self.environ = {
            "UPSTREAM_ENGINE_PROXY": f"http://127.0.0.1:{port}",
            "DATA_DIR": str(folder),
            "KNOWN_NAMES": "frontend,prometheus",
            "SHARED_NETWORKS": "lookout_guests,lookout_edge",
        }

    @cached_property
    def process(self) -> tuple[Telemetry, Discoverer, ASGIApp]:
        """Made at its first use, in the test: a logger keeps the standard output that it was made with."""
        telemetry = self._make(**self.environ)
        discoverer = create(telemetry)
        return telemetry, discoverer, serve(telemetry, discoverer)

    def restart(self) -> None:
        """A new process over the same folder."""
        del self.process

    def value(self, metric: str, **labels: str) -> float | None:
        """A sample of the process."""
        return self.process[0].metrics.registry.get_sample_value(metric, labels)

    def look(self, *containers: dict[str, Any]) -> list[dict[str, Any]]:
        """What stands in the file after a round in which these containers run."""
        self.engine.containers = list(containers)
        asyncio.run(self.process[1].look())
        return self.kept()

    def kept(self) -> list[dict[str, Any]]:
        """What Prometheus reads."""
        return list(json.loads(self.file.read_text())) if self.file.exists() else []

    def addresses(self, *containers: dict[str, Any]) -> list[str]:
        """Addresses in the file after a round."""
        return [target["targets"][0] for target in self.look(*containers)]

    def forget(self, service: str, client: str = "127.0.0.1") -> httpx.Response:
        """Asks for it from an address."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.process[2], client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
                return await browser.delete(f"/services/{service}")

        return asyncio.run(ask())


@pytest.fixture
def world(make_telemetry: MakeTelemetry, tmp_path: Path) -> Iterator[World]:
    with proxied() as (engine, port):
        yield World(engine, port, make_telemetry, tmp_path)


def refusals(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(container, reason) of the log lines that refuse a container."""
    return [(line["container"], line["reason"]) for line in lines if line["message"] == "container refused"]


def test_a_labelled_container_becomes_a_target_with_the_labels_of_a_service(world: World) -> None:
    assert world.look(container()) == [BILLING]
    assert world.value("discovered_services") == 1


def test_a_path_of_its_own_is_scraped_instead(world: World) -> None:
    (target,) = world.look(container(path="/internal/metrics"))
    assert target["labels"]["__metrics_path__"] == "/internal/metrics"


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({"port": ""}, "lookout.port is missing"),
        ({"port": "0"}, "lookout.port=0"),
        ({"port": "65536"}, "lookout.port=65536"),
        ({"port": "94a0"}, "lookout.port='94a0'"),
        ({"team": ""}, "lookout.team is missing"),
        ({"team": "Payments!"}, "lookout.team='Payments!'"),
        ({"service": "bil ling"}, "lookout.service='bil ling'"),
        ({"service": "x"}, "lookout.service='x'"),
        ({"path": "metrics"}, "lookout.path='metrics'"),
        ({"path": "/metrics?debug=1"}, "lookout.path='/metrics?debug=1'"),
        ({"paht": "/metrics"}, "lookout.paht is no label"),
    ],
)
def test_malformed_labels_are_refused_by_name(labels: dict[str, str], named: str) -> None:
    told = container(**labels)
    told["Labels"] = {name: value for name, value in told["Labels"].items() if name.startswith("lookout.")}
    with pytest.raises(Malformed, match="^" + named.replace(".", r"\.").replace("?", r"\?")):
        read(told)


def test_the_labels_that_images_of_the_bundle_have_are_no_mistake(world: World) -> None:
    assert world.look(container(recipe="services", config="abc")) == [BILLING]


def test_a_malformed_container_is_told_once_and_keeps_nobody_out(world: World, log_lines: LogLines) -> None:
    bad = container("cart-1", service="cart", port="none")
    for _ in range(3):
        assert world.look(bad, container()) == [BILLING]
    assert refusals(log_lines()) == [("cart-1", "malformed")]
    assert world.value("discovery_errors_total", reason="malformed") == 1


def test_a_container_that_is_gone_stays_a_target(world: World) -> None:
    world.look(container())
    assert world.look() == [BILLING]
    world.restart()
    assert world.look() == [BILLING]
    assert world.value("discovered_services") == 1


def test_a_successor_takes_the_place_of_a_container_that_is_gone(world: World) -> None:
    assert world.addresses(container("billing-1")) == ["billing-1:9400"]
    assert world.addresses(container("billing-2", port="9500")) == ["billing-2:9500"]


def test_of_two_that_claim_one_service_the_first_keeps_it(world: World, log_lines: LogLines) -> None:
    young, old = container("a-young"), {**container("b-old"), "Created": 1}
    assert world.addresses(young) == ["a-young:9400"]
    assert world.addresses(old, young) == ["a-young:9400"]
    assert refusals(log_lines()) == [("b-old", "taken")]
    assert world.value("discovery_errors_total", reason="taken") == 1
    assert world.addresses(old) == ["b-old:9400"]


def test_of_two_that_appear_together_the_older_one_is_taken(world: World) -> None:
    assert world.addresses(container("a-young"), {**container("b-old"), "Created": 1}) == ["b-old:9400"]


def test_names_of_the_model_cannot_be_taken(world: World, log_lines: LogLines) -> None:
    assert world.look(container("shop-1", service="frontend"), container("prometheus")) == []
    assert refusals(log_lines()) == [("shop-1", "known"), ("prometheus", "known")]
    assert world.value("discovery_errors_total", reason="known") == 2


def test_a_container_that_prometheus_cannot_reach_is_refused_with_the_way_to_mend_it(
    world: World, log_lines: LogLines
) -> None:
    elsewhere = container()
    elsewhere["NetworkSettings"] = {"Networks": {"bridge": {}}}
    assert world.look(elsewhere) == []
    (line,) = [line for line in log_lines() if line["message"] == "container refused"]
    assert line["reason"] == "network"
    assert "docker network connect lookout_guests billing-1" in line["why"]


def test_a_guest_of_another_stack_is_left_to_that_one(world: World, log_lines: LogLines) -> None:
    theirs = container()
    theirs["NetworkSettings"] = {"Networks": {"lookout-ci_guests": {}}}
    assert world.look(theirs) == []
    assert refusals(log_lines()) == []
    assert world.value("discovery_errors_total", reason="network") == 0


def test_a_discovered_service_that_the_model_takes_over_is_dropped(world: World) -> None:
    world.look(container())
    world.environ["KNOWN_NAMES"] = "frontend,billing"
    world.restart()
    assert world.look() == []


def test_an_engine_that_does_not_answer_changes_nothing_and_is_unhealthy(world: World, log_lines: LogLines) -> None:
    world.look(container())
    world.engine.status = 500
    assert world.look() == [BILLING]
    world.look()
    assert world.value("discovery_errors_total", reason="engine") == 2
    assert len([line for line in log_lines() if line["message"].startswith("discovery fails")]) == 1
    assert Browser(world.process[2]).get("/health").status_code == 503


def test_it_is_healthy_after_a_good_round(world: World) -> None:
    world.look()
    assert Browser(world.process[2]).get("/health").status_code == 200


def test_a_file_that_cannot_be_written_changes_nothing_and_is_told(world: World) -> None:
    world.look(container())
    blocker = world.file.with_name(".services.json.new")
    blocker.mkdir()
    assert world.look(container(), container("cart-1", service="cart")) == [BILLING]
    assert world.value("discovery_errors_total", reason="file") == 1
    blocker.rmdir()
    assert len(world.look(container(), container("cart-1", service="cart"))) == 2


def test_the_file_is_replaced_in_one_step_and_nothing_else_is_left(world: World) -> None:
    world.look(container())
    before = world.file.stat().st_ino
    world.look(container(), container("cart-1", service="cart"))
    assert world.file.stat().st_ino != before
    assert [path.name for path in world.file.parent.iterdir()] == ["services.json"]


@pytest.mark.parametrize("text", ["[{", "null", '[{"targets": []}]', "7"])
def test_a_damaged_file_is_named_and_not_overwritten(world: World, make_telemetry: MakeTelemetry, text: str) -> None:
    world.file.write_text(text)
    with pytest.raises(SettingsError, match="DATA_DIR"):
        build(make_telemetry(**world.environ))
    assert world.file.read_text() == text


def test_a_service_that_is_gone_is_forgotten(world: World) -> None:
    world.look(container())
    world.engine.containers = []
    assert world.forget("billing").json() == {"forgotten": "billing"}
    assert world.look() == []
    assert world.value("discovered_services") == 0
    assert world.forget("billing").status_code == 404


def test_a_service_that_still_runs_is_not_forgotten(world: World) -> None:
    world.look(container())
    refused = world.forget("billing")
    assert refused.status_code == 409
    assert refused.json()["error"]["message"] == "billing-1 still runs: stop it first"
    assert world.kept() == [BILLING]


def test_nothing_is_forgotten_while_the_engine_cannot_be_asked(world: World) -> None:
    world.look(container())
    world.engine.status = 500
    assert world.forget("billing").status_code == 503
    assert world.kept() == [BILLING]


def test_nobody_else_on_the_network_can_make_it_forget(world: World) -> None:
    world.look(container())
    world.engine.containers = []
    assert world.forget("billing", client="172.20.0.9").status_code == 403
    assert world.kept() == [BILLING]
