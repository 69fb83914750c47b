"""What the tests of sagas share: a store in memory, and a shop whose steps fail or hang as told."""

import asyncio
import copy
from collections.abc import Awaitable, Callable

from saga_orchestrator.engine import Sagas
from saga_orchestrator.saga import Saga, Step, Store
from telemetry import Unreachable

STEPS = ("record", "payment", "fulfilment")


class MemoryStore:
    """Keeps sagas as a store does; ``away`` fails that many calls."""

    def __init__(self) -> None:
        self.sagas: dict[str, Saga] = {}
        self.free: list[str] = []
        self.away = 0

    async def begin(self, saga: Saga) -> None:
        self._keep(saga)

    async def save(self, saga: Saga) -> None:
        self._keep(saga)

    async def renew(self, sagas: list[str]) -> None: ...

    async def release(self, saga: str) -> None:
        self.free.append(saga)

    async def claim(self) -> Saga | None:
        return copy.deepcopy(self.sagas[self.free.pop()]) if self.free else None

    async def load(self, saga: str) -> Saga | None:
        return self.sagas.get(saga)

    async def open(self) -> int:
        return sum(saga.outcome is None for saga in self.sagas.values())

    async def dead(self) -> int:
        return 0

    def _keep(self, saga: Saga) -> None:
        if self.away:
            self.away -= 1
            raise Unreachable("redis", "refused")
        self.sagas[saga.id] = copy.deepcopy(saga)


class Shop:
    """Steps that fail or hang as told; a failure is used up unless it is for good."""

    def __init__(self, failing: dict[str, Exception] | None = None, for_good: bool = True) -> None:
        self.failing = failing or {}
        self.for_good = for_good
        self.hanging: set[str] = set()
        self.calls: list[str] = []

    def kinds(self, last_is_final: bool = False) -> dict[str, list[Step]]:
        steps = [Step(name, self._act(name), self._undo(name)) for name in STEPS]
        if last_is_final:
            steps[-1] = Step(STEPS[-1], self._act(STEPS[-1]), None)
        return {"order": steps}

    def _act(self, name: str) -> Callable[[Saga, bool], Awaitable[str]]:
        async def act(_saga: Saga, again: bool) -> str:
            await self._call(f"again {name}" if again else name, name)
            return f"id of {name}"

        return act

    def _undo(self, name: str) -> Callable[[Saga], Awaitable[None]]:
        async def undo(_saga: Saga) -> None:
            await self._call(f"undo {name}", f"undo {name}")

        return undo

    async def _call(self, call: str, name: str) -> None:
        self.calls.append(call)
        if name in self.hanging:
            await asyncio.sleep(60)
        if name in self.failing:
            raise self.failing[name] if self.for_good else self.failing.pop(name)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def ended(sagas: Sagas, store: Store) -> None:
    """Look for sagas that were left until none is open."""
    task = asyncio.create_task(sagas.resume())
    try:
        async with asyncio.timeout(10):
            while await store.open():
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
