"""``POST /chat`` with ``{"message": "…", "model": "mistral-small", "tool": "word_count", "stream": false}``.

All but the message may be left out. With ``"stream": true`` the answer is a stream of server-sent events:
``{"delta": "…"}`` as it comes, then one named ``done`` with what would have been answered otherwise, or ``error``.

Model "unavailable" is answered 502, "throttled" 429, "slow" after 2.5 s, "overloaded" 502; the stream of
"broken-stream" ends with an error. Needs REDIS_URL, REDIS_PASSWORD_FILE, UPSTREAM_MCP_SERVER,
UPSTREAM_SIMULATORS, PROVIDER_API_KEY_FILE.
"""

import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Send

from llm_orchestrator.chat import Chat, Turn, event
from llm_orchestrator.mcp_client import NoSuchTool, ToolError, Tools
from llm_orchestrator.metrics import ChatAccounts
from llm_providers import DEFAULT, MODELS, ProviderError, Providers, ProviderThrottled
from telemetry import DependencyError, Telemetry, get_logger, onward, web
from telemetry.stopping import Stopping

CACHE_SECONDS = 30
CALLER = ("authorization",)
FAILURES = (DependencyError, NoSuchTool, ProviderError, ToolError)
log = get_logger("llm_orchestrator")


class Stream(StreamingResponse):
    """Server-sent events; where the process ends before the answer does, the last one says so."""

    def __init__(self, events: AsyncIterator[str], stopping: Stopping) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._stopping = stopping

    async def stream_response(self, send: Send) -> None:
        try:
            async with self._stopping.in_time():
                await super().stream_response(send)
        except TimeoutError:
            log.warning("a stream is ended with the process")
            last = event({"error": {"code": "stopping", "message": "the service is stopping"}}, "error")
            await send({"type": "http.response.body", "body": last.encode()})


class Endpoint:
    """Chats over HTTP."""

    def __init__(self, chat: Chat, stopping: Stopping) -> None:
        self._chat = chat
        self._stopping = stopping

    async def chat(self, request: Request) -> Response:
        """One chat turn."""
        body = await web.read_json(request)
        turn, stream = _turn(body, onward.headers(request, CALLER)), body.get("stream", False)
        if not isinstance(stream, bool):
            raise HTTPException(400, "stream must be true or false")
        try:
            if not stream:
                return JSONResponse(await self._chat.answer(turn))
            parts = self._chat.stream(turn)
            # Waited for here, so that what fails before it is answered with a status of its own.
            first = await anext(parts)
        except FAILURES as error:
            return _failure(error)
        return Stream(_events(first, parts), self._stopping)


async def _events(first: dict[str, Any], parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    yield event(first)
    try:
        async for part in parts:
            yield event(part, None if "delta" in part else "done")
    except FAILURES as error:
        log.error("the stream failed", error=str(error))
        yield event({"error": {"code": _failure_code(error), "message": _failure_message(error)}}, "error")


def _turn(body: dict[str, Any], caller: httpx.Headers) -> Turn:
    model = web.text(body, "model", 100, DEFAULT)
    if model not in MODELS:
        raise HTTPException(400, f"model must be one of {', '.join(MODELS)}")
    tool = web.text(body, "tool", 50) if "tool" in body else None
    return Turn(web.text(body, "message", 8000), model, tool, caller)


def _failure(error: Exception) -> Response:
    """The answer to a turn that failed. DependencyError is left to the application's own handler."""
    match error:
        case ProviderThrottled():
            wait = {"retry-after": str(math.ceil(error.retry_after))}
            return web.failure(429, "provider_throttled", f"{error.provider} is throttling", wait)
        case ProviderError():
            log.error("provider failed", provider=error.provider, error=str(error))
            return web.failure(502, _failure_code(error), _failure_message(error))
        case NoSuchTool():
            return web.failure(400, "http_error", "no such tool")
        case ToolError():
            log.error("tool failed", error=str(error))
            return web.failure(502, _failure_code(error), "the tool failed")
    raise error


def _failure_code(error: Exception) -> str:
    match error:
        case DependencyError():
            return error.code
        case ProviderThrottled():
            return "provider_throttled"
        case ToolError() | NoSuchTool():
            return "tool_failed"
    return "provider_failed"


def _failure_message(error: Exception) -> str:
    """What the client is told: not what the provider said of a failure, which is for the log."""
    if isinstance(error, ProviderError):
        return f"{error.provider} answered {error.code}" if error.code >= 400 else f"{error.provider} broke off"
    return f"{error.dependency} failed" if isinstance(error, DependencyError) else "the tool failed"


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the orchestrator."""
    cache = telemetry.cache(telemetry.redis(), "llm", CACHE_SECONDS)
    accounts = ChatAccounts(telemetry)
    providers = Providers(telemetry, accounts)
    settings = telemetry.settings
    tools = Tools(telemetry.client("mcp-server"), settings.service, settings.version)
    endpoint = Endpoint(Chat(providers, tools, cache, accounts), telemetry.stopping)
    return telemetry.app([Route("/chat", endpoint.chat, methods=["POST"])])
