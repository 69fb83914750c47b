"""What was accepted is done, whoever is killed meanwhile; and the trace goes through the queue."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import time
import uuid

import httpx
import pytest

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.servers import kept_trace_id, kept_traceparent
from tests.faults import send
from tests.integration.load import AUTOMATION, Load, ends, healthy, metric

pytestmark = pytest.mark.integration


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
    retried = metric(stack, AUTOMATION, "worker_jobs_total", queue="digests", status="retried")
    answer = httpx.post(f"{stack.live.url(AUTOMATION)}/digests", json={"channel": "unavailable"}, timeout=10)
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert ends(stack, {job: ""}, within=150) == {job: "dead"}
    assert metric(stack, AUTOMATION, "worker_jobs_total", queue="digests", status="dead") == before + 1
    assert metric(stack, AUTOMATION, "worker_jobs_total", queue="digests", status="retried") >= retried + 5
