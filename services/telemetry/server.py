"""Serves an application until SIGTERM."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from telemetry.stopping import SHUTDOWN_SECONDS, Stopping

KEEP_ALIVE_SECONDS = 20
"""For which an idle connection is kept. Clients use one again for less (httpx 5 s): no request meets its end."""

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """Says that it stops before it waits for the answers that are under way."""

    def __init__(self, config: uvicorn.Config, stopping: Stopping) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.begin()
        await super().shutdown(sockets)


def serve(app: ASGIApp, port: int, stopping: Stopping) -> None:
    """Serve on all addresses."""
    config = uvicorn.Config(
        app,
        http="h11",  # httptools, which is faster, bounds neither heads nor trailers nor pipelined requests
        host="0.0.0.0",
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    with suppress(KeyboardInterrupt):
        _Server(config, stopping).run()
