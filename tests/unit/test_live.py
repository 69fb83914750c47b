"""What is not there, or older than the start of what it came through, is not live: servers' answers are played back."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lookout import names
from lookout.engine import moment
from lookout.model import Stack, load
from lookout.render import ROOT, render
from lookout.verify import alerts, containers, grafana, prometheus
from lookout.verify.polling import NotYet
from lookout.verify.servers import Live
from lookout.write import write


class Played(Live):
    """A stack whose servers give the answers it was made with."""

    answers: dict[str, Any]

    def query(self, promql: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return list(self.answers["query"])

    def targets(self) -> list[dict[str, Any]]:
        return list(self.answers["targets"])

    def rules(self) -> list[dict[str, Any]]:
        return list(self.answers["rules"])

    def notifications(self, **filters: str) -> list[dict[str, Any]]:
        return [at for at in self.answers["notifications"] if at["received_at"] > float(filters["since"])]

    def grafana(self, path: str) -> Any:
        return self.answers["grafana"] if path == "/api/datasources" else {}


def played(stack: Stack, folder: Path, **answers: Any) -> Played:
    """A rendered project with the answers of its servers."""
    write(render(stack), folder)
    made = Played(stack, folder)
    object.__setattr__(made, "answers", answers)
    return made


@pytest.fixture
def stack() -> Stack:
    """The model of the product."""
    return load([ROOT / "stack.yaml"])


def running(stack: Stack, seconds: float) -> dict[str, Any]:
    """What the engine says of containers that were started so long ago."""
    at = datetime.fromtimestamp(time.time() - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    return {name: {"State": {"StartedAt": at}} for name in stack.containers}


def up(stack: Stack, seconds: float) -> list[dict[str, Any]]:
    """A sample of each service from so long ago."""
    return [
        {"metric": {"service": service.name}, "value": [0, str(time.time() - seconds)]} for service in stack.services
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-21T14:39:01.777185027Z", 1795271941.777185),
        ("2026-11-21T14:39:01.7+02:00", 1795264741.7),
        ("2026-11-21T14:39:01Z", 1795271941),
        ("0001-01-01T00:00:00Z", -62135596800),
    ],
    ids=["nanoseconds", "another zone", "a whole second", "never"],
)
def test_the_engines_timestamps_are_read(text: str, seconds: float) -> None:
    assert moment(text) == pytest.approx(seconds)


def test_a_container_that_was_made_and_not_started_is_no_crash(stack: Stack, tmp_path: Path) -> None:
    made = {name: {"State": {"StartedAt": "0001-01-01T00:00:00Z"}} for name in stack.containers}
    assert prometheus.samples(played(stack, tmp_path, query=up(stack, 100)), made).good == 0


@pytest.mark.parametrize(("age", "started", "good"), [(10, 300, 8), (100, 300, 0), (10, 5, 0)])
def test_a_sample_counts_when_it_is_young_and_from_after_the_start(
    stack: Stack, tmp_path: Path, age: float, started: float, good: int
) -> None:
    asked = played(stack, tmp_path, query=up(stack, age))
    assert prometheus.samples(asked, running(stack, started)).good == good


@pytest.mark.parametrize(("age", "started", "ok"), [(30, 300, True), (300, 900, False), (30, 10, False)])
def test_a_notification_counts_when_it_is_young_and_from_after_the_start(
    stack: Stack, tmp_path: Path, age: float, started: float, ok: bool
) -> None:
    asked = played(stack, tmp_path, notifications=[{"received_at": time.time() - age}])
    assert alerts.delivered(asked, running(stack, started)).ok is ok


def test_nothing_that_was_delivered_before_containers_went_counts(stack: Stack, tmp_path: Path) -> None:
    verdict = alerts.delivered(played(stack, tmp_path, notifications=[]), {})
    assert [name for name, _ in verdict.missing] == ["receiver"]


def test_a_server_that_does_not_answer_is_named_with_the_reason(stack: Stack, tmp_path: Path) -> None:
    class Silent(Live):
        def query(self, promql: str) -> list[dict[str, Any]]:  # noqa: ARG002
            raise NotYet("connection refused")

    verdict = prometheus.samples(Silent(stack, tmp_path), {})
    assert (str(verdict), verdict.ok) == ("samples 0 of 1", False)
    assert verdict.missing == (("prometheus", "connection refused"),)


def test_a_target_that_prometheus_does_not_have_is_named(stack: Stack, tmp_path: Path) -> None:
    asked = played(stack, tmp_path, targets=[])
    job, address = "services-live", "frontend:5173"
    assert (job, address) in prometheus.expected_targets(asked)
    verdict = prometheus.targets(asked, {})
    assert not verdict.ok
    assert (address, f"{job}: is no target of Prometheus") in verdict.missing
    everything = [
        {"scrapePool": job, "discoveredLabels": {"__address__": address}, "labels": {}, "health": "up"}
        for job, address in prometheus.expected_targets(asked)
    ]
    object.__setattr__(asked, "answers", {"targets": everything})
    assert prometheus.targets(asked, {}).ok


def test_a_discovered_target_is_told_and_required_by_nothing(stack: Stack, tmp_path: Path) -> None:
    found_in = {"__meta_filepath": f"{names.DISCOVERED_FOLDER}/services.json"}
    targets = [
        {"scrapePool": job, "discoveredLabels": {"__address__": address}, "labels": {}, "health": "up"}
        for job, address in prometheus.expected_targets(played(stack, tmp_path))
    ]
    down = {"labels": {"service": "billing"}, "health": "down", "lastError": "no such host"}
    good = {"labels": {"service": "cart"}, "health": "up", "lastError": ""}
    strangers = [{"scrapePool": "services", "discoveredLabels": found_in, **target} for target in (good, down)]
    asked = played(stack, tmp_path, targets=[*strangers, *targets])
    assert prometheus.targets(asked, {}).ok
    assert prometheus.discovered(asked) == [("billing", "no such host"), ("cart", "up")]


def test_a_rule_that_prometheus_does_not_have_is_named(stack: Stack, tmp_path: Path) -> None:
    verdict = prometheus.rules(played(stack, tmp_path, rules=[]), {})
    assert ("Watchdog", "is no rule of Prometheus") in verdict.missing


def test_a_datasource_that_grafana_does_not_have_is_named(stack: Stack, tmp_path: Path) -> None:
    verdict = grafana.datasources(played(stack, tmp_path, grafana=[{"uid": "prometheus"}]), {})
    assert verdict.good == 1
    assert {name for name, _ in verdict.missing} == {
        f"grafana datasource {uid}" for uid in ("loki", "tempo", "alertmanager")
    }


def test_a_configuration_that_was_refused_is_named(stack: Stack, tmp_path: Path) -> None:
    verdict = prometheus.configurations(played(stack, tmp_path, query=[{"metric": {"service": "prometheus"}}]), {})
    assert [name for name, _ in verdict.missing] == ["alertmanager"]


def test_a_receiver_that_did_not_take_a_notification_is_told(stack: Stack, tmp_path: Path) -> None:
    verdict = alerts.reached(played(stack, tmp_path, query=[{"metric": {"integration": "slack"}}]), {})
    assert verdict.missing == (("alertmanager", "gave up notifications by slack in the last 2 min"),)
    assert alerts.reached(played(stack, tmp_path, query=[]), {}).ok


@pytest.mark.parametrize(
    ("state", "good"),
    [
        ({"Status": "exited", "ExitCode": 0}, True),
        ({"Status": "exited", "ExitCode": 1}, False),
        ({"Status": "restarting", "ExitCode": 1}, False),
        ({"Status": "running", "ExitCode": 0}, False),
        (None, False),
    ],
)
def test_a_one_shot_counts_when_it_has_done_its_work(
    stack: Stack, tmp_path: Path, state: dict[str, Any] | None, good: bool
) -> None:
    found: dict[str, Any] = {
        name: {"State": {"Status": "running", "Health": {"Status": "healthy"}}} for name in stack.containers
    }
    found |= {name: {"State": {"Status": "exited", "ExitCode": 0}} for name in stack.one_shots}
    found["postgres-setup"] = {"State": state}
    if state is None:
        del found["postgres-setup"]
    verdict = containers.healthy(played(stack, tmp_path), found)
    assert verdict.ok == good
    assert [name for name, _ in verdict.missing] == ([] if good else ["postgres-setup"])
