"""Each fault moves the metric that it should, and the same metric of no other service."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from lookout import cli, engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.exposed import Sample, Snapshot, healthy, snapshot, total
from tests.integration.journeys import JOURNEYS, travel

pytestmark = pytest.mark.integration

Measure = Callable[[list[Sample]], float]
SENT = 20
"""Requests that are to move a count by 5: what the traffic moved before the fault is taken off."""

MIB = 1024 * 1024


def counted(metric: str, **labels: str) -> Measure:
    """The sum of a metric over the series that have these labels."""
    return lambda samples: total(samples, metric, **labels)


def slow(samples: list[Sample]) -> float:
    """Requests that took longer than 2.5 s."""
    name = "http_request_duration_seconds"
    return total(samples, f"{name}_count") - total(samples, f"{name}_bucket", le="2.5")


def resident(samples: list[Sample]) -> float:
    """Resident memory in MiB."""
    return total(samples, "process_resident_memory_bytes") / MIB


def at_once(stack: Project, method: str, service: str, path: str, count: int = SENT, **headers: str) -> None:
    """The same request to a service, several at a time, whatever it answers."""
    url = f"{stack.live.url(service)}{path}"
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(httpx.request, method, url, headers=headers, timeout=60) for _ in range(count)]
    for one in asked:
        one.result()


def asks_who_it_is(stack: Project) -> None:
    at_once(stack, "GET", "platform-services", "/session", authorization=f"Bearer {secrets.token_hex(16)}")


def opens_a_page(stack: Project) -> None:
    at_once(stack, "GET", "frontend", "/")


def queues_jobs(stack: Project) -> None:
    for _ in range(SENT):
        job = {"kind": "workflow", "name": "summary", "content": "One sentence. Another."}
        httpx.post(f"{stack.live.url('automation-services')}/jobs", json=job, timeout=10).raise_for_status()


def sends_signed_webhooks(stack: Project) -> None:
    secret = (stack.folder / "secrets" / "webhook_secret").read_text(encoding="utf-8").strip()
    body = b'{"action":"opened"}'
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    for _ in range(SENT):
        headers = {
            "x-hub-signature-256": signature,
            "x-github-event": "issues",
            "x-github-delivery": secrets.token_hex(16),
            "content-type": "application/json",
        }
        url = f"{stack.live.url('api-gateway')}/webhooks/github"
        httpx.post(url, content=body, headers=headers, timeout=10)


def chats(stack: Project) -> None:
    for _ in range(3):
        travel(stack, JOURNEYS[0], {})


def uses_a_tool(stack: Project) -> None:
    for _ in range(SENT):
        travel(stack, JOURNEYS[1], {})


def rests(_stack: Project) -> None:
    """Nothing: the fault moves its metric by itself."""


@dataclass(frozen=True)
class Row:
    """A fault, where it is, and what it moves: by ``moves`` at least there, by ``still`` at most elsewhere.

    The change is that of the metric over the time of the fault, less its change over such a time without one.
    """

    service: str
    fault: str
    measure: Measure
    moves: float
    still: float
    work: Callable[[Project], None] = rests


TOGETHER = {
    # Where a request broke it is answered 500; those who passed it on answer 502.
    "of requests": (
        Row("platform-services", "errors --share 0.5", counted("http_requests_total", status="500"), 5, 0,
            asks_who_it_is),
        Row("frontend", "delay --delay 3", slow, 10, 2, opens_a_page),
        Row("api-gateway", "bad_signatures", counted("webhook_signature_failures_total"), 5, 0,
            sends_signed_webhooks),
        Row("automation-services", "queue_stall", counted("queue_depth"), 5, 0, queues_jobs),
        Row("saga-orchestrator", "memory --mebibytes 48 --seconds 20", resident, 40, 16),
    ),
    "of dependencies": (
        Row("platform-services", "unreachable --dependency redis", counted("dependency_up", dependency="redis"),
            -1, 0),
        Row("platform-services", "unreachable --dependency redis",
            counted("circuit_breaker_state", dependency="redis"), 2, 0, asks_who_it_is),
        Row("mcp-server", "cpu --share 0.8", counted("process_cpu_seconds_total"), 3, 1.5),
    ),
    "of models": (
        Row("mcp-server", "tool_failure", counted("mcp_tool_executions_total", status="error"), 5, 0, uses_a_tool),
        Row("llm-orchestrator", "token_burn --factor 50", counted("ai_tokens_total"), 300, 0, chats),
        Row("saga-orchestrator", "crash", counted("process_start_time_seconds"), 1, 0),
    ),
}  # fmt: skip
"""Faults that are on at the same time, in different services: each moves its own metric, there alone."""

FASTEST = 5
"""Seconds between two snapshots at least, so that what goes on in a service anyway is seen in both windows."""


@pytest.fixture
def rested(stack: Project) -> Iterator[Project]:
    """The stack, healthy; left so too, without a fault."""
    poll_until(lambda: healthy(stack), "healthy services", within=120, every=1)
    yield stack
    poll_until(lambda: cleared(stack), "services without faults", within=120, every=1)
    poll_until(lambda: healthy(stack), "healthy services", within=120, every=1)


def lookout(stack: Project, *arguments: str) -> int:
    """Exit code of a command on the stack."""
    return cli.main(["--project", str(stack.folder), *arguments])


def cleared(stack: Project) -> None:
    """Ends all faults. Raises NotYet where a service does not answer."""
    if lookout(stack, "faults", "--clear") != 0:
        raise NotYet("a service does not answer")


def changes(row: Row, before: Snapshot, after: Snapshot) -> dict[str, float]:
    """By how much the metric of a row changed in each service."""
    return {name: row.measure(samples) - row.measure(before[name]) for name, samples in after.items()}


def moved(row: Row, change: float) -> bool:
    """Whether a change is as large as it must be, in its direction."""
    return change <= row.moves if row.moves < 0 else change >= row.moves


@pytest.mark.parametrize("rows", TOGETHER.values(), ids=TOGETHER)
def test_a_fault_moves_its_metric_and_that_of_no_other_service(rested: Project, rows: tuple[Row, ...]) -> None:
    stack, start = rested, time.monotonic()
    first = snapshot(stack)
    for row in rows:
        row.work(stack)

    def a_while_has_passed() -> Snapshot:
        if time.monotonic() - start < FASTEST:
            raise NotYet("the window without a fault is too short")
        return snapshot(stack)

    second = poll_until(a_while_has_passed, "a window without a fault", within=60)
    for service, fault in dict.fromkeys((row.service, row.fault) for row in rows):
        assert lookout(stack, "fault", service, *fault.split()) == 0
    for row in rows:
        row.work(stack)
    seen: dict[Row, dict[str, float]] = {}

    def all_moved() -> None:
        now = snapshot(stack)
        for row in [row for row in rows if row not in seen]:
            usual = changes(row, first, second)
            change = {name: by - usual[name] for name, by in changes(row, second, now).items()}
            if moved(row, change[row.service]):
                seen[row] = change
        if still := [f"{row.service}: {row.fault}" for row in rows if row not in seen]:
            raise NotYet(f"not moved beyond the usual: {still}")

    poll_until(all_moved, "each fault in its metric", within=60, every=1)
    for row, change in seen.items():
        print(row.service, row.fault, {name: round(value, 2) for name, value in change.items()})
        others = {name: value for name, value in change.items() if name != row.service and abs(value) > row.still}
        assert not others, f"{row.fault} moved {row.service} by {change[row.service]:g}, but these too: {others}"


def test_a_fault_is_logged_when_it_begins_and_when_it_ends_by_itself(rested: Project) -> None:
    assert lookout(rested, "fault", "saga-orchestrator", "errors", "--share", "0.01", "--seconds", "2") == 0
    query = f'{{project="{rested.stack.project}", service="saga-orchestrator", level="warning"}} |= `fault ends`'

    def ended() -> str:
        lines = [line for _, line, _ in rested.live.logs(query) if "its time is up" in line]
        if not lines:
            raise NotYet("no line about its end")
        return lines[0]

    assert '"kind":"errors"' in poll_until(ended, "the end of the fault in the log", within=30)


def test_faults_are_out_of_reach_from_outside_the_container(stack: Project) -> None:
    port = stack.stack.faults_port
    containers = stack.compose.containers()
    address = containers["frontend"]["NetworkSettings"]["Networks"][f"{stack.stack.project}_edge"]["IPAddress"]
    for host in (address, "127.0.0.1"):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{host}:{port}/faults", timeout=5)
    ask = f"import urllib.request; urllib.request.urlopen('http://frontend:{port}/faults', timeout=5)"
    done = engine.inside(containers["api-gateway"]["Id"], "python", "-c", ask, stdin="")
    assert "Connection refused" in done.stderr
