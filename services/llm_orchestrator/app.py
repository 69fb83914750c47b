"""``POST /chat`` with ``{"message": "…", "model": "mistral-small", "tool": "word_count"}``.

Model and tool may be left out. Model "unavailable" is answered 502, "throttled" 429, "slow" after 2.5 s.
Needs REDIS_URL, REDIS_PASSWORD_FILE, UPSTREAM_MCP_SERVER, UPSTREAM_SIMULATORS.
"""

import hashlib
import time
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llm_orchestrator.catalogue import DEFAULT, MODELS, Model
from telemetry import DependencyError, Telemetry, faults, web
from telemetry.cache import Cache

CACHE_SECONDS = 30
PROVIDER_TIMEOUT_SECONDS = 30.0
TOKEN_BURN = faults.hook("token_burn")


class Orchestrator:
    """Cache, then tool, then provider."""

    def __init__(
        self, telemetry: Telemetry, provider: httpx.AsyncClient, tools: httpx.AsyncClient, cache: Cache
    ) -> None:
        self._provider = provider
        self._tools = tools
        self._cache = cache
        metrics = telemetry.metrics
        labels = ["provider", "model"]
        self._requests = metrics.counter("llm_requests_total", "Requests to providers.", [*labels, "status"])
        self._seconds = metrics.histogram("llm_request_duration_seconds", "Duration of requests to providers.", labels)
        for name, model in MODELS.items():
            for status in ("success", "error", "throttled"):
                self._requests.labels(model.provider, name, status)
        self._tokens = metrics.counter("ai_tokens_total", "Tokens, by type input or output.", [*labels, "type"])
        self._cost = metrics.counter("llm_cost_usd_total", "Cost in USD.", labels)

    async def chat(self, request: Request) -> Response:
        """One chat turn."""
        body = await web.read_json(request)
        message = web.text(body, "message", 8000)
        name = web.text(body, "model", 100, DEFAULT)
        model = MODELS.get(name)
        if model is None:
            raise HTTPException(400, f"model must be one of {', '.join(MODELS)}")
        key = hashlib.sha256(f"{name}\0{body.get('tool')}\0{message}".encode()).hexdigest()
        found, _result = await self._cache.get(key)
        if found is not None:
            return JSONResponse({**found, "cached": True})
        tool = await self._use_tool(web.text(body, "tool", 50), message) if "tool" in body else None
        answer = await self._complete(name, model, message)
        if isinstance(answer, Response):
            return answer
        answer["tool"] = tool
        await self._cache.set(key, answer)
        return JSONResponse({**answer, "cached": False})

    async def _use_tool(self, tool: str, message: str) -> Any:
        answer = await self._tools.post(httpx.URL(path=f"/tools/{tool}"), json={"text": message})
        if answer.status_code == 404:
            raise HTTPException(400, "no such tool")
        if answer.is_error:
            raise HTTPException(502, "the tool failed")
        return answer.json()["result"]

    async def _complete(self, name: str, model: Model, message: str) -> dict[str, Any] | Response:
        start = time.perf_counter()
        status = "error"
        try:
            answer = await self._provider.post(
                "/v1/chat/completions",
                json={"model": name, "messages": [{"role": "user", "content": message}]},
            )
            if answer.status_code == 429:
                status = "throttled"
                retry = {"retry-after": answer.headers.get("retry-after", "1")}
                return web.failure(429, "provider_throttled", f"{model.provider} is throttling", retry)
            if answer.is_error:
                return web.failure(502, "provider_failed", f"{model.provider} answered {answer.status_code}")
            status = "success"
            return self._bill(name, model, answer.json())
        except DependencyError as error:
            status = error.code
            raise
        finally:
            self._requests.labels(model.provider, name, status).inc()
            self._seconds.labels(model.provider, name).observe(time.perf_counter() - start)

    def _bill(self, name: str, model: Model, completion: dict[str, Any]) -> dict[str, Any]:
        usage = completion["usage"]
        sent, received = (TOKEN_BURN.scaled(usage[part]) for part in ("prompt_tokens", "completion_tokens"))
        cost = model.cost(sent, received)
        self._tokens.labels(model.provider, name, "input").inc(sent)
        self._tokens.labels(model.provider, name, "output").inc(received)
        self._cost.labels(model.provider, name).inc(cost)
        return {
            "answer": completion["choices"][0]["message"]["content"],
            "provider": model.provider,
            "model": name,
            "tokens": {"input": sent, "output": received},
            "cost_usd": cost,
        }


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the orchestrator."""
    cache = telemetry.cache(telemetry.redis(), "llm", CACHE_SECONDS)
    orchestrator = Orchestrator(
        telemetry,
        telemetry.client("simulators", PROVIDER_TIMEOUT_SECONDS),
        telemetry.client("mcp-server"),
        cache,
    )
    return telemetry.app([Route("/chat", orchestrator.chat, methods=["POST"])])
