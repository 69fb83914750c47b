"""``/mcp`` speaks the Model Context Protocol; ``GET /tools``, ``POST /tools/{tool}`` offer the tools as plain JSON.

Needs REDIS_URL, REDIS_PASSWORD_FILE, DATABASE_URL, DATABASE_PASSWORD_FILE, UPSTREAM_AUTOMATION_SERVICES,
UPSTREAM_SIMULATORS, PROVIDER_API_KEY_FILE.
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llm_providers import Accounts, Providers
from mcp_server.arguments import BadArguments
from mcp_server.protocol import Protocol
from mcp_server.requests import CALL_PATH, LIST_PATH, PATH, Requests
from mcp_server.runner import Runner, UnknownTool
from mcp_server.storage import SCHEMA, Storage
from mcp_server.tools import ToolFailed, tools
from telemetry import Telemetry, web
from telemetry.audit import caller

CACHE_SECONDS = 20


class Facade:
    """Tools for those who speak no MCP: the gateway, whose clients send plain JSON."""

    def __init__(self, runner: Runner, requests: Requests) -> None:
        self._runner = runner
        self._requests = requests

    async def list(self, _request: Request) -> Response:
        """Names of the tools."""
        with self._requests.observe("tools/list", LIST_PATH):
            return JSONResponse({"tools": sorted(self._runner.tools)})

    async def run(self, request: Request) -> Response:
        """Run one tool; its result is under ``result``."""
        name = request.path_params["tool"]
        with self._requests.observe("tools/call", CALL_PATH):
            try:
                result = await self._runner.run(name, await web.read_json(request), caller(request.headers))
            except UnknownTool:
                raise HTTPException(404, "no such tool") from None
            except BadArguments as error:
                raise HTTPException(400, str(error)) from None
            except ToolFailed as error:
                raise HTTPException(502, str(error)) from error
            return JSONResponse({"tool": name, "result": result})


def _accounts(telemetry: Telemetry) -> Accounts:
    metrics, labels = telemetry.metrics, ["provider", "model"]
    return Accounts(
        metrics.counter("mcp_api_calls_total", "Requests of tools to LLM providers.", [*labels, "status"]),
        metrics.histogram("mcp_api_latency_seconds", "Duration of requests of tools to LLM providers.", labels),
        metrics.counter("mcp_tokens_total", "Tokens that tools used, by type input or output.", [*labels, "type"]),
    )


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the MCP server."""
    cache = telemetry.cache(telemetry.redis(), "mcp", CACHE_SECONDS)
    database = telemetry.postgres(SCHEMA)
    storage = Storage(telemetry, database, cache)
    providers = Providers(telemetry, _accounts(telemetry))
    known = tools(storage, telemetry.client("automation-services"), providers)
    runner = Runner(telemetry, known, telemetry.audit(database, "tool_call"))
    requests = Requests(telemetry)
    protocol, facade = Protocol(telemetry, runner, storage, requests), Facade(runner, requests)
    telemetry.background(protocol.serve)
    return telemetry.app(
        [
            Route(PATH, protocol),
            Route(LIST_PATH, facade.list, methods=["GET"]),
            Route(CALL_PATH, facade.run, methods=["POST"]),
        ]
    )
