"""Spreads requests so that a limit of some a second is never reached."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

WINDOW_SECONDS = 1.0


class Throttled(Exception):
    """No request may be made now; ``retry_after`` in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"no request for {retry_after:.1f} s")
        self.retry_after = retry_after


class Limiter:
    """``rate`` requests in any second, in the order in which they were asked for.

    A place becomes free one second after its request was answered, not after it was sent: however late a request
    arrives at the other end, no more than ``rate`` of them arrive there within a second. Nobody waits longer than
    ``max_wait`` seconds.
    """

    def __init__(self, rate: int, max_wait: float) -> None:
        self._rate = rate
        self._max_wait = max_wait
        self._places = asyncio.Semaphore(rate)
        self._free = rate
        self._waiting = 0
        self._paused_until = 0.0

    @property
    def remaining(self) -> int:
        """How many requests may start now; during a pause none."""
        return 0 if self._pause_left() > 0 else self._free

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for one request. Raises Throttled where none becomes free in time."""
        await self._take()
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._give_back)

    def pause(self, seconds: float) -> None:
        """Let no request start for ``seconds``: the other end has said so."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _pause_left(self) -> float:
        return self._paused_until - time.monotonic()

    async def _take(self) -> None:
        deadline = time.monotonic() + self._max_wait
        if self._paused_until > deadline:
            raise Throttled(self._pause_left())
        if self._waiting >= self._rate * self._max_wait:
            raise Throttled(self._waiting / self._rate)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._max_wait):
                await self._places.acquire()
        except TimeoutError:
            raise Throttled(max(self._waiting / self._rate, WINDOW_SECONDS)) from None
        finally:
            self._waiting -= 1
        self._free -= 1
        try:
            # A pause may have begun, or been prolonged, while this one was waiting.
            while (wait := self._pause_left()) > 0:
                if self._paused_until > deadline:
                    raise Throttled(wait)
                await asyncio.sleep(wait)
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        self._places.release()
        self._free += 1
