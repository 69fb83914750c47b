"""What was accepted is done: jobs, sagas and the traces of both, whoever is killed meanwhile."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.servers import kept_trace_id, kept_traceparent
from tests.faults import send

pytestmark = pytest.mark.integration

AUTOMATION = "automation-services"
CLIENTS = 6
Body = dict[str, Any]
Case = tuple[str, Body, str]
MANIFEST = "flask==2.3.3\nrequests>=2.28.2\n"
CASES: list[Case] = [
    ("/jobs", {"kind": "file", "name": "a.csv", "content": "a,b\n1,2\n"}, "succeeded"),
    ("/jobs", {"kind": "file", "name": "a.json", "content": "{"}, "failed"),
    ("/jobs", {"kind": "workflow", "name": "summary", "content": "One. Two."}, "succeeded"),
    ("/jobs", {"kind": "workflow", "name": "fulfilment", "content": "unshippable"}, "failed"),
    ("/upgrades", {"manifest": "requirements.txt", "content": MANIFEST}, "succeeded"),
    ("/upgrades", {"manifest": "package.json", "content": "{"}, "failed"),
    ("/proofs", {"claim": "tautology", "formula": "(p -> q) & (q -> r) -> (p -> r)"}, "succeeded"),
    ("/proofs", {"claim": "tautology", "formula": "p -> q"}, "failed"),
]
"""What is posted, and how the job must end."""


class Load:
    """Clients that post jobs until told to stop, and remember what was accepted."""

    def __init__(self, stack: Project) -> None:
        self._url = stack.live.url(AUTOMATION)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.accepted: dict[str, str] = {}
        self.traces: dict[str, str] = {}
        self.refused = 0

    def has(self, count: int) -> Callable[[], None]:
        """A question: whether at least so many jobs were accepted."""

        def ask() -> None:
            if len(self.accepted) < count:
                raise NotYet(f"{len(self.accepted)} accepted, {self.refused} not")

        return ask

    def _client(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=12) as client:
            turn = number
            while not self._stop.is_set():
                path, body, end = CASES[turn % len(CASES)]
                turn += 1
                trace = kept_trace_id()
                try:
                    answer = client.post(path, json=body, headers={"traceparent": kept_traceparent(trace)})
                except httpx.HTTPError:
                    answer = None
                with self._lock:
                    if answer is not None and answer.status_code == 202:
                        self.accepted[answer.json()["id"]] = end
                        self.traces[answer.json()["id"]] = trace
                    else:
                        self.refused += 1
                # A service that is away answers at once: no need to ask it a thousand times a second.
                self._stop.wait(0.02 if answer is not None and answer.status_code == 202 else 0.2)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Post while the block runs."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._client, number) for number in range(CLIENTS)]
            try:
                yield self
            finally:
                self._stop.set()
            for client in clients:
                client.result()


def ends(stack: Project, jobs: dict[str, str], within: float) -> dict[str, str]:
    """How these jobs have ended. Fails where one is lost, or has not ended in time."""
    found: dict[str, str] = {}
    with httpx.Client(base_url=stack.live.url(AUTOMATION), timeout=5) as client:

        def ask() -> None:
            for job in [job for job in jobs if job not in found]:
                try:
                    answer = client.get(f"/jobs/{job}")
                except httpx.HTTPError as error:
                    raise NotYet(f"no answer: {error}") from error
                assert answer.status_code != 404, f"job {job} is lost"
                if answer.status_code != 200:
                    raise NotYet(f"answered {answer.status_code}")
                if (state := answer.json()["state"]) != "queued":
                    found[job] = state
            if len(found) < len(jobs):
                raise NotYet(f"{len(jobs) - len(found)} of {len(jobs)} have not ended")

        poll_until(ask, "the end of all jobs", within)
    return found


def healthy(stack: Project, service: str) -> None:
    """Wait until a service and all that it depends on are well."""

    def ask() -> None:
        try:
            answer = httpx.get(f"{stack.live.url(service)}/health", timeout=3)
        except httpx.HTTPError as error:
            raise NotYet(str(error)) from error
        if answer.status_code != 200:
            raise NotYet(answer.text)

    poll_until(ask, f"{service} is healthy", within=90)


def metric(stack: Project, service: str, name: str, **labels: str) -> float:
    """Sum of the series of a metric of a service, as it says itself now; 0 where there are none."""
    total = 0.0
    for line in httpx.get(f"{stack.live.url(service)}/metrics", timeout=5).text.splitlines():
        match = re.fullmatch(rf"{name}\{{(.*)\}} (\S+)", line)
        if match and all(f'{label}="{value}"' in match[1] for label, value in labels.items()):
            total += float(match[2])
    return total


def test_every_accepted_job_ends_as_its_input_says_though_worker_and_redis_are_killed(stack: Project) -> None:
    healthy(stack, AUTOMATION)
    with Load(stack).running() as load:
        poll_until(load.has(60), "accepted jobs", within=60)
        send(stack, AUTOMATION, signal.SIGKILL)
        poll_until(load.has(len(load.accepted) + 60), "jobs accepted after the kill of the worker", within=90)
        send(stack, "redis", signal.SIGKILL)
        poll_until(load.has(len(load.accepted) + 60), "jobs accepted after the kill of Redis", within=90)
        send(stack, AUTOMATION, signal.SIGKILL)
        send(stack, "redis", signal.SIGKILL)
        poll_until(load.has(len(load.accepted) + 60), "jobs accepted after both were killed", within=90)
    found = ends(stack, load.accepted, within=180)
    wrong = {job: (state, load.accepted[job]) for job, state in found.items() if state != load.accepted[job]}
    print(f"{len(load.accepted)} accepted, {load.refused} refused, {len(wrong)} ended otherwise")
    assert wrong == {}
    assert set(load.accepted.values()) == {"succeeded", "failed"}


def test_a_worker_that_is_stopped_loses_no_job_and_no_span(stack: Project) -> None:
    healthy(stack, AUTOMATION)
    container = stack.compose.containers()[AUTOMATION]["Id"]
    with Load(stack).running() as load:
        poll_until(load.has(40), "accepted jobs", within=60)
        started = time.monotonic()
        engine.run("stop", container)
        took = time.monotonic() - started
    engine.run("start", container)
    assert took < 10, "the engine had to kill it"
    found = ends(stack, load.accepted, within=120)
    assert {job: state for job, state in found.items() if state != load.accepted[job]} == {}

    def ask() -> None:
        for job, trace in load.traces.items():
            spans = stack.live.trace(trace).get(AUTOMATION, set())
            if not any(name.startswith("job ") for name in spans) or not any("POST" in name for name in spans):
                raise NotYet(f"the trace of {job} has only {sorted(spans)}")

    poll_until(ask, "the spans of all requests and jobs", within=90, every=1)
    print(f"{len(load.accepted)} accepted, stopped in {took:.1f} s, all spans stored")


def test_a_webhook_becomes_a_job_in_its_trace_once(stack: Project) -> None:
    healthy(stack, "api-gateway")
    secret = (stack.folder / "secrets" / "webhook_secret").read_text(encoding="utf-8").strip()
    payload = {
        "ref": "refs/heads/main",
        "after": "0" * 40,
        "deleted": False,
        "repository": {"full_name": "octo/hello"},
        "commits": [{"message": "Fix the the bug", "added": [], "modified": ["web/package.json"]}],
    }
    body = json.dumps(payload).encode()
    trace = kept_trace_id()
    correlation = f"it-{uuid.uuid4().hex}"
    headers = {
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        "x-github-event": "push",
        "x-github-delivery": str(uuid.uuid4()),
        "traceparent": kept_traceparent(trace),
        "x-correlation-id": correlation,
    }
    url = f"{stack.live.url('api-gateway')}/webhooks/github"
    answer = httpx.post(url, content=body, headers=headers, timeout=10)
    assert answer.status_code == 202, answer.text
    jobs = answer.json()["jobs"]
    assert set(ends(stack, dict.fromkeys(jobs, ""), within=30).values()) == {"succeeded"}
    result = httpx.get(f"{stack.live.url(AUTOMATION)}/jobs/{jobs[1]}", timeout=5).json()["result"]
    assert result["changes"]["axios"] == {"from": "1.6.8", "to": "1.7.9"}
    del headers["traceparent"]
    again = httpx.post(url, content=body, headers=headers, timeout=10)
    assert (again.status_code, again.json()) == (200, {"duplicate": True})

    def ask() -> None:
        spans = stack.live.trace(trace)
        if not {"job review", "job upgrade"} <= spans.get(AUTOMATION, set()) or "api-gateway" not in spans:
            raise NotYet(f"the trace has {spans}")

    poll_until(ask, "the trace from the webhook to its jobs", within=60, every=1)

    def read() -> None:
        lines = stack.live.logs(
            f'{{project="{stack.stack.project}", service="{AUTOMATION}"}} | correlation_id=`{correlation}`'
        )
        parsed = [json.loads(line) for _, line, _ in lines]
        found = {line["job"]: line["trace_id"] for line in parsed if line["message"] == "job"}
        if found != dict.fromkeys(jobs, trace):
            raise NotYet(f"lines of {found}")

    poll_until(read, "a log line of each job", within=60)


def test_a_job_that_breaks_each_time_is_given_up_and_counted(stack: Project) -> None:
    healthy(stack, AUTOMATION)
    before = metric(stack, AUTOMATION, "worker_jobs_total", queue="digests", status="dead")
    answer = httpx.post(f"{stack.live.url(AUTOMATION)}/digests", json={"channel": "unavailable"}, timeout=10)
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert ends(stack, {job: ""}, within=150) == {job: "dead"}
    assert metric(stack, AUTOMATION, "worker_jobs_total", queue="digests", status="dead") == before + 1
    assert metric(stack, AUTOMATION, "worker_jobs_total", queue="digests", status="retried") >= 5


def test_a_saga_is_gone_on_with_after_its_orchestrator_was_killed(stack: Project) -> None:
    for service in ("saga-orchestrator", AUTOMATION):
        healthy(stack, service)
    item, trace = f"book-{uuid.uuid4().hex}", kept_trace_id()
    records = f"{stack.live.url('airtable-gateway')}/records?table=orders"

    def place() -> None:
        headers = {"traceparent": kept_traceparent(trace)}
        order = {"item": item, "amount": 12.5}
        # Its orchestrator is killed while it is asked.
        with suppress(httpx.HTTPError):
            httpx.post(f"{stack.live.url('saga-orchestrator')}/sagas", json=order, headers=headers, timeout=30)

    def mine() -> list[str]:
        answer = httpx.get(records, timeout=5)
        if answer.status_code != 200:
            raise NotYet(f"answered {answer.status_code}")
        fields = [record["fields"] for record in answer.json()["records"]]
        found = [one["saga"] for one in fields if one.get("item") == item]
        if not found:
            raise NotYet("no record")
        return found

    client = threading.Thread(target=place)
    send(stack, AUTOMATION, signal.SIGSTOP)
    try:
        client.start()
        (saga,) = poll_until(mine, "the record of the order", within=10, every=0.3)
        send(stack, "saga-orchestrator", signal.SIGKILL)
    finally:
        send(stack, AUTOMATION, signal.SIGCONT)
    client.join()

    def completed() -> None:
        try:
            answer = httpx.get(f"{stack.live.url('saga-orchestrator')}/sagas/{saga}", timeout=3)
        except httpx.HTTPError as error:
            raise NotYet(str(error)) from error
        if answer.status_code != 200 or answer.json()["outcome"] == "under way":
            raise NotYet(answer.text)
        assert answer.json()["outcome"] == "completed", answer.text

    poll_until(completed, "the end of the saga", within=90)
    assert poll_until(mine, "the records of the order", within=10) == [saga]
    assert metric(stack, "saga-orchestrator", "saga_resumed_total", saga="order") >= 1

    def traced() -> None:
        spans = stack.live.trace(trace)
        if "saga resumed order" not in spans.get("saga-orchestrator", set()):
            raise NotYet(f"the trace has {spans}")

    poll_until(traced, "the trace of the saga after its orchestrator's end", within=60, every=1)


def test_an_order_is_refunded_once_through_the_gateway(stack: Project) -> None:
    healthy(stack, "api-gateway")
    gateway = stack.live.url("api-gateway")

    def order() -> str:
        answer = httpx.post(f"{gateway}/api/orders", json={"item": "book", "amount": 12.5}, timeout=40)
        if answer.status_code != 201:
            raise NotYet(answer.text)  # Airtable throttles now and then.
        return str(answer.json()["id"])

    placed = poll_until(order, "a completed order", within=30)

    def refund() -> dict[str, Any]:
        answer = httpx.post(f"{gateway}/api/refunds", json={"order": placed}, timeout=40)
        if answer.json().get("failed_step") == "record":
            raise NotYet(answer.text)
        return dict(answer.json())

    assert poll_until(refund, "a refund", within=30)["outcome"] == "completed"
    second = poll_until(refund, "a second refund", within=30)
    assert (second["outcome"], second["failed_step"]) == ("compensated", "payment")
    assert metric(stack, "saga-orchestrator", "saga_compensations_total", saga="refund", step="record") >= 1
