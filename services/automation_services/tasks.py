"""What is done for each kind of job, measured. What computes runs in a thread, and the event loop goes on."""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prometheus_client import Counter, Histogram

from automation_services.controller import Handler
from automation_services.digests import Digests
from automation_services.jobs import Job
from automation_services.manifests import MANIFESTS
from automation_services.proofs import COMPLEXITIES, Refuted, complexity, prove
from automation_services.reviews import Reviews
from automation_services.upgrades import upgrade
from automation_services.work import FILE_KINDS, WORKFLOWS, WorkBroke, WorkFailed, file_kind, process_file
from telemetry import Telemetry

QUALITY_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
PROOF_BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Tasks:
    """The handlers of all kinds of jobs. All may be run again for the same job."""

    def __init__(self, telemetry: Telemetry, reviews: Reviews, digests: Digests, source: httpx.AsyncClient) -> None:
        self._reviews = reviews
        self._digests = digests
        self._source = source
        metrics = telemetry.metrics
        self._files = metrics.counter("files_processed_total", "Files processed.", ["kind", "status"])
        self._file_seconds = metrics.histogram("file_processing_duration_seconds", "Duration of file processing.")
        self._runs = metrics.counter("workflow_runs_total", "Workflows run.", ["workflow", "status"])
        self._run_seconds = metrics.histogram("workflow_run_duration_seconds", "Duration of workflows.")
        self._upgrades = metrics.counter(
            "upgrades_total", "Manifests that were to be upgraded.", ["ecosystem", "status"]
        )
        self._upgrade_seconds = metrics.histogram("upgrade_duration_seconds", "Duration of upgrades.", ["ecosystem"])
        self._quality = metrics.histogram(
            "patch_quality_score",
            "Quality of patches, 0 to 1: how up to date and pinned they leave a manifest, in how small steps.",
            ["ecosystem"],
            QUALITY_BOUNDS,
        )
        self._proofs = metrics.counter("proofs_total", "Claims that were to be proved.", ["status"])
        self._proof_seconds = metrics.histogram(
            "proof_latency_seconds", "Duration of proofs.", ["complexity"], PROOF_BOUNDS
        )
        for status in ("success", "failure"):
            for file in FILE_KINDS:
                self._files.labels(file, status)
            for workflow in WORKFLOWS:
                self._runs.labels(workflow, status)
        for ecosystem, _ in MANIFESTS.values():
            self._upgrade_seconds.labels(ecosystem)
            self._quality.labels(ecosystem)
            for status in ("success", "unchanged", "failure"):
                self._upgrades.labels(ecosystem, status)
        for status in ("verified", "refuted", "invalid"):
            self._proofs.labels(status)
        for level in COMPLEXITIES:
            self._proof_seconds.labels(level)

    def handlers(self) -> dict[str, Handler]:
        """The handler of each kind."""
        return {
            "file": self.file,
            "workflow": self.workflow,
            "fulfilment": self.workflow,
            "upgrade": self.upgrade,
            "proof": self.proof,
            "review": self.review,
            "digest": self.digest,
        }

    async def file(self, job: Job) -> Any:
        """Process a file."""
        with _timed(self._file_seconds), _outcome(self._files, file_kind(job.name)):
            return await asyncio.to_thread(process_file, job.name, job.content)

    async def workflow(self, job: Job) -> Any:
        """Run a workflow."""
        with _timed(self._run_seconds), _outcome(self._runs, job.name):
            return await asyncio.to_thread(WORKFLOWS[job.name], job.content)

    async def upgrade(self, job: Job) -> Any:
        """Upgrade a manifest: the content of the job, or where it stands in a repository."""
        wanted = json.loads(job.content)
        ecosystem = MANIFESTS[job.name][0]
        with _timed(self._upgrade_seconds.labels(ecosystem)):
            try:
                content = wanted["content"] if "content" in wanted else await self._fetch(wanted)
                done = await asyncio.to_thread(upgrade, job.name, content, wanted.get("across_majors", False))
            except WorkFailed:
                self._upgrades.labels(ecosystem, "failure").inc()
                raise
        self._upgrades.labels(ecosystem, "success" if done.changes else "unchanged").inc()
        if done.quality is not None:
            self._quality.labels(ecosystem).observe(done.quality)
        return done.result()

    async def proof(self, job: Job) -> Any:
        """Prove a claim."""
        with _timed(self._proof_seconds.labels(complexity(job.name, job.content))):
            try:
                proof = await asyncio.to_thread(prove, job.name, job.content)
            except Refuted:
                self._proofs.labels("refuted").inc()
                raise
            except WorkFailed:
                self._proofs.labels("invalid").inc()
                raise
        self._proofs.labels("verified").inc()
        return proof

    async def review(self, job: Job) -> Any:
        """Review a text."""
        return await asyncio.to_thread(self._reviews.review, job.content)

    async def digest(self, job: Job) -> Any:
        """Deliver a digest."""
        return await self._digests.deliver(job.id, job.name)

    async def _fetch(self, wanted: dict[str, Any]) -> str:
        """A file of a repository, as GitHub's API for contents gives it."""
        path = f"/repos/{wanted['repository']}/contents/{wanted['path']}"
        answer = await self._source.get(path, params={"ref": wanted["ref"]})
        if answer.status_code >= 500:
            raise WorkBroke(f"GitHub answered {answer.status_code}")
        if answer.is_error:
            raise WorkFailed(f"GitHub answered {answer.status_code} for {path}")
        try:
            return base64.b64decode(answer.json()["content"]).decode()
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise WorkFailed(f"{path} is no text file") from None


@contextmanager
def _timed(histogram: Histogram) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        histogram.observe(time.perf_counter() - start)


@contextmanager
def _outcome(counter: Counter, label: str) -> Iterator[None]:
    try:
        yield
    except WorkFailed:
        counter.labels(label, "failure").inc()
        raise
    counter.labels(label, "success").inc()
