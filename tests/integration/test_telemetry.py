"""The library in the eight services of a running stack: who they are, what they weigh, and their health in a fault."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from lookout import engine
from lookout.project import Project
from lookout.verify.http import CLIENT
from lookout.verify.polling import NotYet, poll_until
from tests.integration.test_signals import SERVICES

MEMORY_BYTES = 90 * 1024 * 1024
# A second for the checks, which run side by side, and what a busy machine and two proxies of the engine take.
HEALTH_SECONDS = 1.5
ON_DATABASES = ["platform-services", "mcp-server"]

pytestmark = pytest.mark.integration


@contextmanager
def frozen(stack: Project, *containers: str) -> Iterator[None]:
    """All processes of the containers stand still: connections stay open, and nothing answers."""
    ids = [stack.compose.containers()[name]["Id"] for name in containers]
    engine.run("pause", *ids)
    try:
        yield
    finally:
        engine.run("unpause", *ids)


def health(stack: Project, service: str) -> tuple[float, int, dict[str, Any]]:
    """Seconds, status and body of /health."""
    start = time.perf_counter()
    answer = CLIENT.get(f"{stack.live.url(service)}/health", timeout=10)
    return time.perf_counter() - start, answer.status_code, answer.json()


@pytest.mark.parametrize("service", SERVICES)
def test_it_says_which_version_and_revision_it_is(stack: Project, service: str) -> None:
    (found,) = stack.live.query(f'build_info{{service="{service}"}}')
    assert found["metric"]["version"] == stack.stack.version
    assert len(found["metric"]["revision"]) == 12


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_no_heavier_than_it_may_be(stack: Project, service: str) -> None:
    (found,) = stack.live.query(f'process_resident_memory_bytes{{service="{service}", job="services"}}')
    assert float(found["value"][1]) < MEMORY_BYTES


@pytest.mark.parametrize("service", SERVICES)
def test_it_loses_no_span_that_is_to_be_kept(stack: Project, service: str) -> None:
    (found,) = stack.live.query(f'spans_dropped_total{{service="{service}", kept="true"}}')
    assert float(found["value"][1]) == 0


@pytest.mark.parametrize("service", SERVICES)
def test_every_line_of_its_container_is_of_the_schema(stack: Project, service: str) -> None:
    lines = engine.tail(stack.compose.containers()[service]["Id"], 200).splitlines()
    assert lines
    for line in lines:
        assert {"timestamp", "level", "service", "logger", "message"} <= json.loads(line).keys(), line


def test_health_answers_in_time_while_the_databases_are_frozen_and_heals(stack: Project) -> None:
    def heals(service: str) -> None:
        _, status, body = health(stack, service)
        if status != 200:
            raise NotYet(str(body["dependencies"]))

    def degrades(service: str) -> Any:
        seconds, status, body = health(stack, service)
        assert seconds < HEALTH_SECONDS, f"{service}: {body}"
        if status != 503:
            raise NotYet("it still tells the outcome from before")
        return body

    with frozen(stack, "postgres", "redis"):
        for service in ON_DATABASES * 3:
            # An outcome is kept for two seconds.
            body = poll_until(partial(degrades, service), f"{service} notices", within=2 + HEALTH_SECONDS, every=0.2)
            assert {body["dependencies"][name]["status"] for name in ("postgres", "redis")} == {"down"}
    for service in ON_DATABASES:
        poll_until(lambda service=service: heals(service), f"health of {service}", within=30)  # type: ignore[misc]
