"""Faults of requests: each route is wrapped, so that what it answers is counted under its own template."""

import asyncio
from collections.abc import Sequence

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry import web
from telemetry.faults.registry import FAULTS, Faults


class Faulty:
    """Delays a request, or answers 500 in its place, while such faults are at work."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            delay = self._faults.active("delay")
            if delay is not None and delay.strikes():
                await _pause(delay.over, delay.parameters["delay"])
            errors = self._faults.active("errors")
            if errors is not None and errors.strikes():
                await web.failure(500, "fault", "a fault was asked for")(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _pause(over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        pass


def around(routes: Sequence[BaseRoute], faults: Faults = FAULTS) -> Sequence[BaseRoute]:
    """The routes, each able to fail."""
    for route in routes:
        if isinstance(route, Route | Mount):
            route.app = Faulty(route.app, faults)
    return routes
