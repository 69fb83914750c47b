"""The Model Context Protocol over streamable HTTP, with the official SDK; both of its eras.

Revisions up to 2025-11-25 open a session and may hold a stream of events; 2026-07-28 sends each request on its own
and listens on a stream that it asks for. The SDK has no WebSocket any more: these streams are what is connected.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from opentelemetry import trace
from starlette.types import Receive, Scope, Send

from mcp_server.arguments import BadArguments, schema
from mcp_server.requests import PATH, Requests
from mcp_server.runner import Runner, UnknownTool
from mcp_server.sdk import (
    CallNext,
    HandlerResult,
    InMemorySubscriptionBus,
    ListenHandler,
    MCPError,
    ResourcesListChanged,
    Server,
    ServerRequestContext,
    StreamableHTTPSessionManager,
    TransportSecuritySettings,
)
from mcp_server.storage import MAX_FOUND, Storage
from mcp_server.tools import ToolFailed
from telemetry import DependencyError, Telemetry, tracing, web
from telemetry.audit import caller

MAX_SESSIONS = 200
SESSION_IDLE_SECONDS = 300.0
NOTE_URI = "note:///"
CHANGING = frozenset({"remember", "forget"})
_SESSION_HEADER = b"mcp-session-id"


class Protocol:
    """An ASGI application; ``serve`` must run in the background for it to answer."""

    def __init__(self, telemetry: Telemetry, runner: Runner, storage: Storage, requests: Requests) -> None:
        self._runner = runner
        self._storage = storage
        self._requests = requests
        self._tracer = telemetry.tracing.tracer
        self._stopping = telemetry.stopping
        self._bus = InMemorySubscriptionBus()
        self._listening = ListenHandler(self._bus, max_subscriptions=MAX_SESSIONS)
        self._server: Server[Any] = Server(
            telemetry.settings.service,
            version=telemetry.settings.version,
            instructions="Tools that count, remember, search, review and summarize texts; notes are resources.",
            # Else the SDK asks itself for the list of tools at every call, and that would be counted.
            get_tool_input_schema=lambda name: schema(runner.tools[name].parameters) if name in runner.tools else None,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
            on_subscriptions_listen=self._listening,
        )
        # Instead of the SDK's own tracing, which knows only a process-wide provider.
        self._server.middleware = [self._observe]
        # Names under which this server is asked: another would be a page that rebinds its DNS name to this machine.
        hosts = ("127.0.0.1", "localhost", "[::1]", telemetry.settings.service)
        self._security = TransportSecuritySettings(
            allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
            allowed_origins=[f"http://{host}:*" for host in hosts],
        )
        self._manager: StreamableHTTPSessionManager | None = None
        self._sessionless = 0
        self._connections = telemetry.metrics.gauge(
            "mcp_active_connections", "Open sessions, and requests and streams of clients without one."
        )
        telemetry.before_scrape(self._measure)
        # Its lines of level info tell of each session what the access line tells already.
        logging.getLogger("mcp").setLevel(logging.WARNING)

    async def serve(self) -> None:
        """Keep sessions alive until cancelled; when the process is told to end, streams end that only wait for news."""
        manager = StreamableHTTPSessionManager(
            self._server,
            security_settings=self._security,
            session_idle_timeout=SESSION_IDLE_SECONDS,
            max_sessions=MAX_SESSIONS,
            max_request_body_size=web.MAX_BODY_BYTES,
        )
        async with manager.run():
            self._manager = manager
            try:
                await self._stopping.begun()
                self._listening.close()
                for session in manager._server_instances.values():
                    session.close_standalone_sse_stream()
                await asyncio.Event().wait()
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        manager = self._manager
        if manager is None:
            await web.failure(503, "not_ready", "starting or stopping")(scope, receive, send)
            return
        in_session = any(name == _SESSION_HEADER for name, _ in scope["headers"])
        if in_session:
            await manager.asgi_app(scope, receive, send)
            return
        self._sessionless += 1
        try:
            await manager.asgi_app(scope, receive, send)
        finally:
            self._sessionless -= 1

    async def _measure(self) -> None:
        # The SDK shows no count of its sessions.
        sessions = len(self._manager._server_instances) if self._manager is not None else 0
        self._connections.set(sessions + self._sessionless)

    async def _observe(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        parent = None
        if "traceparent" not in getattr(ctx.request, "headers", {}):
            # A client whose transport sets no headers of its own puts the context into the message.
            parent = _context_in(ctx.meta)
        with (
            self._requests.observe(ctx.method, PATH) as outcome,
            self._tracer.start_as_current_span(
                f"mcp {ctx.method}",
                parent,
                attributes={"mcp.method.name": ctx.method, "mcp.protocol.version": ctx.protocol_version},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            try:
                result = await call_next(ctx)
            except MCPError as error:
                tracing.fail(span, str(error.error.code))
                raise
            if isinstance(result, Mapping) and result.get("isError") is True:
                outcome.fail()
                tracing.fail(span, "tool_error")
            return result

    async def _list_tools(self, _ctx: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=name,
                    description=tool.description,
                    input_schema=schema(tool.parameters),
                    annotations=types.ToolAnnotations(read_only_hint=tool.read_only),
                )
                for name, tool in self._runner.tools.items()
            ]
        )

    async def _call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        who = caller(getattr(ctx.request, "headers", {}))
        try:
            result = await self._runner.run(params.name, params.arguments or {}, who)
        except UnknownTool as error:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {error}") from None
        except (BadArguments, ToolFailed) as error:
            return _tool_error(str(error))
        except DependencyError as error:
            return _tool_error(f"{error.dependency} failed: {error.code}")
        if params.name in CHANGING:
            await self._bus.publish(ResourcesListChanged())
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=json.dumps(result))], structured_content={"result": result}
        )

    async def _list_resources(
        self, _ctx: Any, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        notes = await self._storage.newest(MAX_FOUND)
        return types.ListResourcesResult(
            resources=[
                types.Resource(uri=f"{NOTE_URI}{note['id']}", name=f"note {note['id']}", mime_type="text/plain")
                for note in notes
            ]
        )

    async def _read_resource(self, _ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        number = uri.removeprefix(NOTE_URI)
        note = await self._storage.read(int(number)) if number.isdecimal() and len(number) < 19 else None
        if note is None or not uri.startswith(NOTE_URI):
            raise MCPError(types.INVALID_PARAMS, "Resource not found")
        contents = types.TextResourceContents(uri=uri, text=note["text"], mime_type="text/plain")
        return types.ReadResourceResult(contents=[contents])


def _tool_error(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=message)], is_error=True)


def _context_in(meta: Mapping[str, Any] | None) -> Any:
    """Trace context in the metadata of a message; None where there is none that is valid."""
    if not meta or "traceparent" not in meta:
        return None
    context = tracing.extract({key: value for key, value in meta.items() if isinstance(value, str)})
    return context if trace.get_current_span(context).get_span_context().is_valid else None
