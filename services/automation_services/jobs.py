"""What a job is, and where it is kept: a list in Redis is the queue, a hash is its state."""

import json
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from telemetry import ids, tracing
from telemetry.redis_store import RedisStore

QUEUE = "jobs"
KEPT_SECONDS = 3600
WAIT_SECONDS = 1
_LIST = f"queue:{QUEUE}"


@dataclass(frozen=True, slots=True)
class Job:
    """One job; ``headers`` carry trace and ids of the request that made it, ``queued_at`` in Unix seconds."""

    id: str
    kind: str
    name: str
    content: str
    queued_at: float
    headers: dict[str, str]


class Queue:
    """First in, first out."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def put(self, kind: str, name: str, content: str) -> Job:
        """Queue a job on behalf of the current request."""
        job = Job(uuid.uuid4().hex, kind, name, content, time.time(), tracing.inject(ids.headers()))
        await self.set_state(job.id, "queued")
        await self._store.call("LPUSH", _LIST, json.dumps(asdict(job)))
        return job

    async def take(self) -> Job | None:
        """The next job; None where none came within WAIT_SECONDS."""
        found = await self._store.call_quietly("BRPOP", _LIST, WAIT_SECONDS)
        return Job(**json.loads(found[1])) if found else None

    async def depth(self) -> int:
        """Jobs that wait."""
        return int(await self._store.call_quietly("LLEN", _LIST))

    async def state(self, job: str) -> dict[str, Any] | None:
        """State and result of a job; None where it is unknown or older than KEPT_SECONDS."""
        text = await self._store.call("GET", f"job:{job}")
        return None if text is None else dict(json.loads(text))

    async def set_state(self, job: str, state: str, result: Any = None) -> None:
        """Set the state: queued, succeeded, failed or cancelled."""
        value = json.dumps({"id": job, "state": state, "result": result})
        await self._store.call("SET", f"job:{job}", value, "EX", KEPT_SECONDS)
