"""``GET /tools`` and ``POST /tools/{tool}`` with the tool's arguments as a JSON object.

Tools: word_count, remember, search, review; each takes ``text``. Needs REDIS_URL, REDIS_PASSWORD_FILE,
DATABASE_URL, DATABASE_PASSWORD_FILE, UPSTREAM_AUTOMATION_SERVICES.
"""

import time

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mcp_server.storage import SCHEMA, Storage
from mcp_server.tools import Tool, tools
from telemetry import DependencyError, Telemetry, faults, web
from telemetry.audit import Audit, caller

CACHE_SECONDS = 20
TOOL_FAILURE = faults.hook("tool_failure")


class Server:
    """Runs tools."""

    def __init__(self, telemetry: Telemetry, known: dict[str, Tool], audit: Audit) -> None:
        self._tools = known
        self._audit = audit
        metrics = telemetry.metrics
        self._requests = metrics.counter(
            "mcp_requests_total", "Requests to the MCP server.", ["method", "endpoint", "status"]
        )
        self._request_seconds = metrics.histogram("mcp_request_duration_seconds", "Duration of requests.")
        self._active = metrics.gauge("mcp_active_connections", "Clients waiting for a tool.")
        self._executions = metrics.counter("mcp_tool_executions_total", "Tools run.", ["tool", "status"])
        for tool in known:
            for status in ("success", "error"):
                self._executions.labels(tool, status)
        self._tool_seconds = metrics.histogram("mcp_tool_duration_seconds", "Duration of tools.", ["tool"])

    async def list(self, _request: Request) -> Response:
        """Names of the tools."""
        self._requests.labels("GET", "/tools", 200).inc()
        return JSONResponse({"tools": sorted(self._tools)})

    async def run(self, request: Request) -> Response:
        """Run one tool; its result is under ``result``."""
        start = time.perf_counter()
        status = 500
        self._active.inc()
        try:
            response = await self._run(request)
            status = response.status_code
            return response
        except HTTPException as error:
            status = error.status_code
            raise
        except DependencyError as error:
            status = error.status
            raise
        finally:
            self._active.dec()
            self._requests.labels("POST", "/tools/{tool}", status).inc()
            self._request_seconds.observe(time.perf_counter() - start)

    async def _run(self, request: Request) -> Response:
        name = request.path_params["tool"]
        tool = self._tools.get(name)
        if tool is None:
            raise HTTPException(404, "no such tool")
        arguments = await web.read_json(request)
        start = time.perf_counter()
        status = "error"
        try:
            async with self._audit.around("tool_call", who=caller(request.headers), on=f"tool:{name}"):
                TOOL_FAILURE.fail()
                result = await tool(arguments)
            status = "success"
        finally:
            self._executions.labels(name, status).inc()
            self._tool_seconds.labels(name).observe(time.perf_counter() - start)
        return JSONResponse({"tool": name, "result": result})


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the MCP server."""
    cache = telemetry.cache(telemetry.redis(), "mcp", CACHE_SECONDS)
    database = telemetry.postgres(SCHEMA)
    storage = Storage(telemetry, database, cache)
    known = tools(storage, telemetry.client("automation-services"))
    server = Server(telemetry, known, telemetry.audit(database, "tool_call"))
    return telemetry.app(
        [
            Route("/tools", server.list, methods=["GET"]),
            Route("/tools/{tool}", server.run, methods=["POST"]),
        ]
    )
