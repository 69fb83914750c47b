"""A queue in memory with the promises of automation_services.jobs.Queue, for tests of what stands around it."""

from __future__ import annotations

import asyncio
from typing import Any

from automation_services.jobs import Delivery, Job, QueueFull
from telemetry import Unreachable


class MemoryQueue:
    """``away`` makes every call fail; ``let_go`` is what waits to be delivered again."""

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.away = False
        self.waiting: dict[str, list[tuple[Job, int]]] = {}
        self.pending: dict[str, Delivery] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.beats: list[str] = []
        self.handed_back: list[bool] = []

    async def put(self, job: Job) -> bool:
        self._ask()
        job.stored()
        if job.id in self.states:
            return False
        if len(self.waiting.setdefault(job.queue, [])) >= self.most:
            raise QueueFull("full")
        self.states[job.id] = {"id": job.id, "state": "queued", "result": None}
        self.waiting[job.queue].append((job, 1))
        return True

    async def prepare(self, queue: str) -> None:
        self._ask()
        self.waiting.setdefault(queue, [])

    async def take(self, queue: str) -> Delivery | None:
        await asyncio.sleep(0.001)
        self._ask()
        if not self.waiting[queue]:
            return None
        job, count = self.waiting[queue].pop(0)
        delivery = Delivery(job, job.id, count, f"{job.id}-{count}")
        self.pending[job.id] = delivery
        return delivery

    async def finish(self, delivery: Delivery, state: str, result: Any) -> str:
        self._ask()
        self.pending.pop(delivery.job.id, None)
        now = self.states[delivery.job.id]
        if now["state"] == "cancelled":
            return "cancelled"
        if now["state"] != "queued":
            return "duplicate"
        now |= {"state": state, "result": result}
        return state

    async def beat(self, deliveries: list[Delivery]) -> None:
        self._ask()
        self.beats += [delivery.job.id for delivery in deliveries]

    async def hand_back(self, delivery: Delivery, at_once: bool = True) -> None:
        self._ask()
        self.handed_back.append(at_once)
        self.let_go(delivery, delivery.count)

    async def depth(self, queue: str) -> int:
        self._ask()
        return len(self.waiting.get(queue, []))

    async def state(self, job: str) -> dict[str, Any] | None:
        self._ask()
        found = self.states.get(job)
        return None if found is None else dict(found)

    async def cancel(self, job: str) -> bool:
        self._ask()
        if job not in self.states:
            return False
        self.states[job] |= {"state": "cancelled", "result": None}
        return True

    def let_go(self, delivery: Delivery, count: int | None = None) -> None:
        """Deliver again what was neither finished nor handed back, as after its worker has gone."""
        self.pending.pop(delivery.job.id, None)
        self.waiting[delivery.job.queue].append((delivery.job, count or delivery.count + 1))

    def _ask(self) -> None:
        if self.away:
            raise Unreachable("redis", "refused")
