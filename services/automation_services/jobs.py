"""What a job is, and what a queue of jobs must do."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Protocol

KINDS = {
    "file": "files",
    "workflow": "workflows",
    "fulfilment": "orders",
    "upgrade": "upgrades",
    "proof": "proofs",
    "review": "reviews",
    "digest": "digests",
}
"""Kinds of jobs, and the queue that each waits in."""
SLOTS = {"files": 2, "workflows": 2, "orders": 2, "upgrades": 1, "proofs": 1, "reviews": 1, "digests": 1}
"""How many jobs of a queue are done at the same time. Each queue has slots of its own, so that a hard proof does
not hold up an order."""
FINAL = frozenset({"succeeded", "failed", "cancelled", "dead"})
ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


MAX_STORED = 40_000
"""Bytes of one job as it is stored."""
MAX_RESULT = 16_000
"""Bytes of its result."""


class QueueFull(Exception):
    """As many jobs wait as the queue takes."""


class JobTooLong(Exception):
    """The job is longer than MAX_STORED."""


def dumps(value: Any) -> str:
    """JSON for the store, in which a letter takes the bytes that it has and not up to 12."""
    # Half a surrogate is no letter; what takes its place reads as its escape.
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Job:
    """One job; ``headers`` carry trace and ids of the request that made it, ``queued_at`` in Unix seconds."""

    id: str
    kind: str
    name: str
    content: str
    queued_at: float
    headers: dict[str, str]

    @property
    def queue(self) -> str:
        """The queue it waits in."""
        return KINDS[self.kind]

    def stored(self) -> str:
        """All of it as JSON. Raises JobTooLong."""
        text = dumps(asdict(self))
        if len(text.encode()) > MAX_STORED:
            raise JobTooLong(f"the job is longer than {MAX_STORED} bytes")
        return text


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job in the hand of a worker, for the ``count``-th time; ``entry`` is its place in the queue."""

    job: Job
    entry: str
    count: int
    token: str


class Queue(Protocol):
    """At least once: a job that ``put`` has accepted is delivered until ``finish`` has stored its end.

    All raise DependencyError where the store of the queue is away.
    """

    async def put(self, job: Job) -> bool:
        """Accept a job; False where one with its id was accepted before. Raises QueueFull, JobTooLong."""

    async def prepare(self, queue: str) -> None:
        """At the start of a process: what its last life had in hand is to be delivered again, at once."""

    async def take(self, queue: str) -> Delivery | None:
        """The next job, or one that its worker has let go; None where there was none for a moment."""

    async def finish(self, delivery: Delivery, state: str, result: Any) -> str:
        """Store the end of a job, once and for all; the state that counts, or "duplicate" where it had ended."""

    async def beat(self, deliveries: list[Delivery]) -> None:
        """Say that these are still being worked on."""

    async def hand_back(self, delivery: Delivery, at_once: bool = True) -> None:
        """Give a job back unfinished, to be taken at once or after a pause; this delivery does not count."""

    async def depth(self, queue: str) -> int:
        """Jobs that wait."""

    async def state(self, job: str) -> dict[str, Any] | None:
        """State and result of a job, without ``result`` where that was dropped; None where it is not known."""

    async def cancel(self, job: str) -> bool:
        """Cancel a job or withdraw its result; False where it is unknown."""
