"""Redis and PostgreSQL go away under traffic: circuits open, health says so in time, and all heals when they return."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from typing import Any

import httpx
import pytest

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.faults import send
from tests.integration.exposed import healthy, of_service, total
from tests.integration.journeys import JOURNEYS, travel

pytestmark = pytest.mark.integration

OPEN = 2
BUDGET_SECONDS = 1.5
"""For an answer of /health: the second that a check has, and half of one for all else on a busy machine."""


def dependents(stack: Project, server: str) -> list[str]:
    """The bundled services that depend on a server."""
    return [service.name for service in stack.stack.bundled if server in service.depends_on]


def call(stack: Project, server: str) -> dict[str, int]:
    """Requests that cannot be answered without a server, by the service that asks it: their statuses."""
    user = {"email": f"{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}
    job = {"kind": "workflow", "name": "summary", "content": "One sentence."}
    requests: dict[str, dict[str, tuple[str, str, str, Any]]] = {
        "postgres": {
            "platform-services": ("POST", "platform-services", "/session", user),
            "mcp-server": ("POST", "frontend", "/api/tools/remember", {"text": uuid.uuid4().hex}),
        },
        "redis": {
            "platform-services": ("GET", "platform-services", "/session", None),
            "automation-services": ("POST", "automation-services", "/jobs", job),
            "api-gateway": ("GET", "api-gateway", "/api/records?table=visits", None),
        },
    }
    found = {}
    for service, (method, container, path, body) in requests[server].items():
        url = f"{stack.live.url(container)}{path}"
        headers = {"authorization": f"Bearer {uuid.uuid4().hex}"}
        found[service] = httpx.request(method, url, json=body, headers=headers, timeout=40).status_code
    return found


def state(stack: Project, service: str, server: str) -> float:
    """State of the circuit of a service to a server."""
    return total(of_service(stack, service), "circuit_breaker_state", dependency=server)


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_a_killed_database_opens_circuits_degrades_health_and_heals(stack: Project, server: str) -> None:
    poll_until(lambda: healthy(stack), "healthy services", within=120, every=1)
    container = stack.compose.containers()[server]["Id"]
    asked = set(call(stack, server))
    assert asked <= set(dependents(stack, server))
    killed = time.time()
    engine.run("kill", container)
    try:

        def circuits_are_open() -> None:
            call(stack, server)
            closed = [service for service in asked if state(stack, service, server) != OPEN]
            if closed:
                raise NotYet(f"not open: {closed}")

        def health_says_so() -> None:
            for service in dependents(stack, server):
                answer = httpx.get(f"{stack.live.url(service)}/health", timeout=5)
                down = [name for name, one in answer.json()["dependencies"].items() if one["status"] == "down"]
                if answer.status_code != 503 or server not in down:
                    raise NotYet(f"{service}: {answer.status_code}, down: {down}")

        poll_until(health_says_so, f"{server} named by health", within=30, every=1)
        poll_until(circuits_are_open, f"circuits to {server} open", within=90, every=0.2)
        print(f"{server}: circuits of {sorted(asked)} open {time.time() - killed:.1f} s after the kill")
        poll_until(lambda: errors_are_logged(stack, "platform-services", killed), "errors in the log", within=30)
    finally:
        engine.run("start", container)
    returned = time.time()

    def requests_succeed() -> None:
        statuses = {service: status for service, status in call(stack, server).items() if status >= 500}
        if statuses:
            raise NotYet(f"still failing: {statuses}")
        healthy(stack)

    poll_until(requests_succeed, f"everything well after the return of {server}", within=120, every=1)
    print(f"{server}: healed {time.time() - returned:.1f} s after its return")
    for journey in JOURNEYS:
        answer = travel(stack, journey, {})
        assert answer.status_code == journey.status, f"{journey.name}: {answer.text}"


def errors_are_logged(stack: Project, service: str, since: float) -> None:
    """Raises NotYet unless lost requests have lines of level error."""
    query = f'{{project="{stack.stack.project}", service="{service}", level="error"}} | json | status >= 500'
    if not stack.live.logs(query, since=time.time() - since):
        raise NotYet(f"{service} logged no error of a request since {since:.0f}")


def test_health_answers_within_its_budget_while_the_databases_are_frozen(stack: Project) -> None:
    poll_until(lambda: healthy(stack), "healthy services", within=120, every=1)
    databases = ("postgres", "redis")
    services = sorted({service for server in databases for service in dependents(stack, server)})
    for server in databases:
        send(stack, server, signal.SIGSTOP, everything=True)
    try:
        took = asyncio.run(ask_health(stack, services, rounds=3))
    finally:
        for server in databases:
            send(stack, server, signal.SIGCONT, everything=True)
    print("slowest answers in seconds:", {name: round(max(times), 3) for name, times in took.items()})
    late = {name: max(times) for name, times in took.items() if max(times) > BUDGET_SECONDS}
    assert not late, f"later than {BUDGET_SECONDS} s: {late}"
    poll_until(lambda: healthy(stack), "healthy services again", within=120, every=1)


async def ask_health(stack: Project, services: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of each answer of /health, all services at once; each names a frozen database in its last answer.

    Rounds are further apart than the two seconds for which a service keeps an outcome, so each is a new check.
    """
    took: dict[str, list[float]] = {name: [] for name in services}
    async with httpx.AsyncClient(timeout=10) as client:

        async def ask(name: str) -> httpx.Response:
            start = time.perf_counter()
            answer = await client.get(f"{stack.live.url(name)}/health")
            took[name].append(time.perf_counter() - start)
            return answer

        for _ in range(rounds):
            answers = await asyncio.gather(*(ask(name) for name in services), asyncio.sleep(2.2))
    for name, answer in zip(services, answers[:-1], strict=True):
        assert isinstance(answer, httpx.Response)
        assert answer.status_code == 503, f"{name}: {answer.text}"
        dependencies = answer.json()["dependencies"]
        down = {dependency for dependency, found in dependencies.items() if found["status"] == "down"}
        frozen = {"postgres", "redis"} & set(dependencies)
        assert frozen <= down, f"{name} misses {down}"
    return took
