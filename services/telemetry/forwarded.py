"""Whose request it is where it came through proxies: X-Forwarded-For is believed only of those that are trusted."""

import asyncio
import ipaddress
import socket

from starlette.types import Scope

from telemetry.settings import Settings

REFRESH_SECONDS = 5.0
UNKNOWN = "unknown"


class Proxies:
    """The hosts of TRUSTED_PROXIES (names or addresses, separated by commas), looked up again and again.

    Whoever else sends the header is not believed, or a client could have a new address for each request.
    """

    def __init__(self, settings: Settings) -> None:
        names = (name.strip() for name in settings.environ.get("TRUSTED_PROXIES", "").split(","))
        self._names = [name for name in names if name]
        self._addresses: dict[str, frozenset[str]] = {}

    async def keep_fresh(self) -> None:
        """Background work: look the names up for as long as the process lives. One that is gone is not trusted."""
        while self._names:
            await self.look_up()
            await asyncio.sleep(REFRESH_SECONDS)

    async def look_up(self) -> None:
        """Look all names up once."""
        for name in self._names:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except OSError:
                found = []
            self._addresses[name] = frozenset(str(entry[4][0]) for entry in found)

    def client(self, scope: Scope) -> str:
        """The address of the client of a request: that of the peer, or what a trusted peer says, last proxy first."""
        client = scope["client"][0] if scope.get("client") else UNKNOWN
        said = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        hops = [hop.strip() for line in said for hop in line.split(",")]
        while hops and any(client in addresses for addresses in self._addresses.values()):
            try:
                client = str(ipaddress.ip_address(hops.pop()))
            except ValueError:
                break
        return client
