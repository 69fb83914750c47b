"""What is measured only when somebody asks: gauges whose truth is elsewhere, set before /metrics answers."""

import asyncio
from collections.abc import Awaitable, Callable

from telemetry.errors import DependencyError
from telemetry.logs import get_logger

Measure = Callable[[], Awaitable[object]]
log = get_logger("telemetry")


class Measures:
    """Runs all measures side by side, for a bounded time; one that still hangs is not started again."""

    def __init__(self) -> None:
        self._measures: list[Measure] = []
        self._running: dict[int, asyncio.Task[object]] = {}

    def add(self, measure: Measure) -> None:
        """Run ``measure`` before each scrape."""
        self._measures.append(measure)

    async def run(self, seconds: float) -> None:
        """Run them; never raises, and returns after ``seconds`` whatever they do."""
        for number, measure in enumerate(self._measures):
            if number not in self._running or self._running[number].done():
                self._running[number] = asyncio.create_task(self._one(measure))
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                log.warning("gauges could not be brought up to date in time", count=len(late))

    async def _one(self, measure: Measure) -> object:
        try:
            return await measure()
        except DependencyError:
            # Its health check has said so, and the gauge keeps its value.
            return None
        except Exception as error:
            log.warning("a gauge could not be brought up to date", exc_info=error)
            return None
