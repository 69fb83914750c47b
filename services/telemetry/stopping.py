"""From SIGTERM to the last answer of a process; the lifespan of ASGI tells of its end only after that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SHUTDOWN_SECONDS = 3
"""What is not answered by then is cancelled."""
STREAM_SECONDS = 2.5
"""What is in the middle of an answer by then ends it, with a word about it."""


class Stopping:
    """For what would stay open by itself; it begins in services that ``telemetry.run`` serves."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """The process was told to end."""
        self._begun.set()

    async def begun(self) -> None:
        """Wait until the process is told to end."""
        await self._begun.wait()

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """A block that takes as long as it likes, but raises TimeoutError STREAM_SECONDS after ``begin``."""
        async with asyncio.timeout(None) as limit:
            watch = asyncio.create_task(self._limit(limit))
            try:
                yield
            finally:
                watch.cancel()

    async def _limit(self, limit: asyncio.Timeout) -> None:
        await self._begun.wait()
        limit.reschedule(asyncio.get_running_loop().time() + STREAM_SECONDS)
