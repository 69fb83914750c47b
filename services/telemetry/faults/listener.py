"""The listener through which faults are asked for: ``/faults`` on the loopback interface of the container.

POST starts one from a JSON object, GET lists them, DELETE ends all. It has no login: whoever may run a process in
the container may do worse, and nobody else reaches it.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from telemetry import web
from telemetry.faults.kinds import BadFault
from telemetry.faults.registry import FAULTS, Faults

ADDRESS = "127.0.0.1"


def app(faults: Faults) -> Starlette:
    """The ASGI application."""

    async def start(request: Request) -> Response:
        try:
            return JSONResponse(faults.start(await web.read_json(request)).body(), 201)
        except BadFault as error:
            raise HTTPException(400, str(error)) from None

    async def show(_request: Request) -> Response:
        return JSONResponse({"kinds": faults.kinds, "active": faults.bodies()})

    async def clear(_request: Request) -> Response:
        return JSONResponse({"ended": faults.clear("it was cleared")})

    routes = [
        Route("/faults", start, methods=["POST"]),
        Route("/faults", show, methods=["GET"]),
        Route("/faults", clear, methods=["DELETE"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: web.on_http_exception})


class _Server(uvicorn.Server):
    """Leaves signals to the server of the service."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Listens from start to shutdown of the service; a port that is taken is an OSError at the start."""

    def __init__(self, port: int, faults: Faults = FAULTS) -> None:
        self.port = port
        self._faults = faults
        self._server = _Server(uvicorn.Config(app(faults), lifespan="off", log_config=None, access_log=False))
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Listener":
        listening = socket.create_server((ADDRESS, self.port))
        self.port = listening.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve([listening]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._faults.clear("the service stops")
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
