"""airtable-gateway in front of a simulated Airtable, both behind sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from airtable_gateway.app import build
from simulators.app import build as build_simulators
from telemetry import Telemetry
from tests.unit.services.helpers import MakeTelemetry
from tests.unit.services.servers import serving

KEY = "key-of-a-test"
Conversation = Callable[[httpx.AsyncClient], Awaitable[Any]]


class Gateway:
    """The gateway in front of a simulated Airtable."""

    def __init__(self, url: str, telemetry: Telemetry) -> None:
        self._url = url
        self.value = telemetry.metrics.registry.get_sample_value

    def client(self) -> httpx.AsyncClient:
        """A client of the gateway."""
        return httpx.AsyncClient(base_url=self._url, timeout=30, trust_env=False)

    def talk(self, conversation: Conversation) -> Any:
        """A conversation with a client of its own."""

        async def run() -> Any:
            async with self.client() as client:
                return await conversation(client)

        return asyncio.run(run())


@contextmanager
def gateway_to_airtable(make_telemetry: MakeTelemetry, folder: Path, token: str = KEY) -> Iterator[Gateway]:
    """Airtable accepts KEY; the gateway sends ``token``."""
    (folder / "key").write_text(KEY)
    (folder / "token").write_text(token)
    key = str(folder / "key")
    with serving(build_simulators(make_telemetry(PROVIDER_API_KEY_FILE=key, AIRTABLE_TOKEN_FILE=key))) as simulators:
        telemetry = make_telemetry(UPSTREAM_SIMULATORS=simulators, AIRTABLE_TOKEN_FILE=str(folder / "token"))
        with serving(build(telemetry)) as url:
            yield Gateway(url, telemetry)
