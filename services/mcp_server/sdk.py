"""The parts of the official SDK that serve.

``import mcp`` also loads its client, a second HTTP client, and a framework that we do not use: 12 MiB resident. The
package and ``mcp.server`` are therefore left empty while their modules are imported, and are whole again for
anybody who imports them later.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_PACKAGES = ("mcp", "mcp.server")


@contextmanager
def _without_their_contents() -> Iterator[None]:
    """The packages without what their ``__init__`` imports; as they are where somebody has imported them already."""
    if "mcp" in sys.modules:
        yield
        return
    found = importlib.util.find_spec("mcp")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the package mcp is not installed", name="mcp")
    [root] = found.submodule_search_locations
    for name in _PACKAGES:
        package = ModuleType(name)
        package.__path__ = [root + name.removeprefix("mcp").replace(".", "/")]
        sys.modules[name] = package
    try:
        yield
    finally:
        for name in _PACKAGES:
            del sys.modules[name]


with _without_their_contents():
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.lowlevel.server import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourcesListChanged
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.shared.exceptions import MCPError
    from sse_starlette.sse import AppStatus

# By itself it breaks off every response of a session half a second after SIGTERM, also those of tools that still run.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]

__all__ = [
    "CallNext",
    "HandlerResult",
    "InMemorySubscriptionBus",
    "ListenHandler",
    "MCPError",
    "ResourcesListChanged",
    "Server",
    "ServerRequestContext",
    "StreamableHTTPSessionManager",
    "TransportSecuritySettings",
]
