"""Work from start to shutdown of a process, begun again when it fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from telemetry.errors import DependencyError
from telemetry.logs import get_logger

RESTART_SECONDS = 1.0
log = get_logger("telemetry")


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """``work`` in a task while the context lasts; an exception in it is logged, and it starts again."""
    task = asyncio.create_task(_forever(work))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
            return
        except DependencyError as error:
            log.error("background work is held up", error=str(error))
        except Exception as error:
            log.error("background work failed", exc_info=error)
        await asyncio.sleep(RESTART_SECONDS)
