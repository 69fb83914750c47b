"""What the services say of themselves now: their /metrics, read without waiting for a scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
from prometheus_client.parser import text_string_to_metric_families

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until

Sample = tuple[str, Mapping[str, str], float]
Snapshot = dict[str, list[Sample]]


def snapshot(stack: Project) -> Snapshot:
    """The samples of each bundled service. Raises NotYet where one does not answer."""
    return {service.name: of_service(stack, service.name) for service in stack.stack.bundled}


def of_service(stack: Project, service: str) -> list[Sample]:
    """The samples of one service. Raises NotYet where it does not answer."""
    url = f"{stack.live.url(service)}/metrics"
    try:
        text = httpx.get(url, timeout=10).raise_for_status().text
    except httpx.HTTPError as error:
        raise NotYet(f"{url}: {type(error).__name__}: {error}") from error
    families = text_string_to_metric_families(text)
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def total(samples: list[Sample], metric: str, **labels: str) -> float:
    """The sum of the samples of a metric that have these labels; 0 where there is none."""
    return sum(value for name, has, value in samples if name == metric and labels.items() <= has.items())


@contextmanager
def quiet(stack: Project) -> Iterator[None]:
    """No traffic while the block runs, and at its beginning nothing that is under way."""
    traffic = stack.compose.containers()["traffic"]["Id"]
    last: dict[str, float] = {}

    def still() -> None:
        before = dict(last)
        last.update({name: total(found, "http_requests_total") for name, found in snapshot(stack).items()})
        if before != last:
            raise NotYet("requests are still answered")

    engine.run("pause", traffic)
    try:
        poll_until(still, "no more traffic", within=30, every=1)
        yield
    finally:
        engine.run("unpause", traffic)


def healthy(stack: Project) -> None:
    """Raises NotYet unless every bundled service is healthy and the circuits of its dependencies are closed.

    Those of the LLM providers are left aside: the traffic asks for a model that fails, and opens one now and then.
    """
    for service in stack.stack.bundled:
        url = f"{stack.live.url(service.name)}/health"
        try:
            answer = httpx.get(url, timeout=10)
        except httpx.HTTPError as error:
            raise NotYet(f"{url}: {type(error).__name__}: {error}") from error
        if answer.status_code != 200:
            raise NotYet(f"{url}: {answer.text[:300]}")
    samples = snapshot(stack)
    for service in stack.stack.bundled:
        for dependency in service.depends_on:
            if total(samples[service.name], "circuit_breaker_state", dependency=dependency):
                raise NotYet(f"{service.name} has a circuit for {dependency} that is not closed")
