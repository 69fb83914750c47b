"""What the tests of services share: an environment, and a client that speaks ASGI to an application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from redis._parsers.base import BaseParser
from starlette.types import ASGIApp

from telemetry import Telemetry

ENVIRONMENT = {
    "OTEL_SERVICE_NAME": "shop",
    "PORT": "7999",
    "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,vcs.ref.head.revision=abc",
}
MakeTelemetry = Callable[..., Telemetry]
LogLines = Callable[[], list[dict[str, Any]]]
REFUSALS = (
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
)
"""How Redis 8.0 refuses a write, in a script too: the code comes first."""


class AuditInMemory:
    """Takes the place of the audit log where there is no PostgreSQL: (action, who, on what, outcome) of each event."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str, str]] = []

    @asynccontextmanager
    async def around(self, action: str, *, who: str, on: str) -> AsyncIterator[None]:
        """Remember how the block ends."""
        outcome = "failure"
        try:
            yield
            outcome = "success"
        finally:
            self.events.append((action, who, on, outcome))


class RefusingRedis:
    """A client of a Redis that refuses writes with what a server says, and answers the rest."""

    def __init__(self, said: str) -> None:
        self._said = said

    async def execute_command(self, command: str, *_arguments: object) -> str:
        """The answer, or the exception that the library makes of what is said."""
        if command in ("SET", "EVAL"):
            raise BaseParser.parse_error(self._said)  # type: ignore[no-untyped-call]
        return "answer"


class Browser:
    """Asks an application without a server and without its start and shutdown."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request in an event loop of its own; an exception of the application is raised."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", path, **options)
