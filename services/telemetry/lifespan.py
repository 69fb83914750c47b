"""Start and shutdown around an application that has its own, or has none."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from telemetry.logs import get_logger

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = get_logger("telemetry.lifespan")


async def serve(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, around: AbstractAsyncContextManager[None]
) -> None:
    """The lifespan of ``app`` within ``around``: entered before the application starts, left after it has ended."""
    await receive()
    inner = _Inner(app, scope)
    try:
        async with around:
            answer = await inner.ask("startup")
            if answer["type"] == "lifespan.startup.failed":
                await send(answer)
                return
            await send(answer)
            await receive()
            answer = await inner.ask("shutdown")
    except Exception as error:
        log.error("start or shutdown failed", exc_info=error)
        kind = "shutdown" if inner.started else "startup"
        answer = {"type": f"lifespan.{kind}.failed", "message": f"{type(error).__name__}: {error}"}
    await send(answer)


class _Inner:
    """The application's own lifespan, in a task; an application that knows none has nothing to do at either end."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._app = app
        self._scope = scope
        self._task: asyncio.Task[None] | None = None
        self.started = False

    async def ask(self, phase: str) -> Message:
        """Send the application ``lifespan.<phase>`` and return its answer."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        self._to_app.put_nowait({"type": f"lifespan.{phase}"})
        answer = asyncio.create_task(self._from_app.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and self._from_app.empty():
            answer.cancel()
            self.started = True
            return {"type": f"lifespan.{phase}.complete"}
        self.started = True
        return await answer

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._to_app.get, self._from_app.put)
        except Exception as error:
            # Servers take it as "knows no lifespan", unless the application has sent that its start failed.
            if not self.started and self._from_app.empty():
                log.info("the application has no lifespan of its own", reason=type(error).__name__)
