"""Spreads requests evenly in time."""

import asyncio


class Pace:
    """Lets ``rate`` requests a second pass, however many journeys wait."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = 0.0

    async def wait(self) -> None:
        """Return when it is this caller's turn. Time that nobody used is not made up for."""
        now = asyncio.get_running_loop().time()
        turn = max(self._next, now)
        self._next = turn + self._interval
        await asyncio.sleep(turn - now)
