"""Clients that post jobs to a running stack, and what came of the jobs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.servers import kept_trace_id, kept_traceparent

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
