"""One chat turn: cache, then tool, then provider, or another one while that one's circuit is open."""

import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx

from llm_orchestrator.mcp_client import Tools
from llm_orchestrator.metrics import ChatAccounts
from llm_providers import MODELS, Providers, Usage
from telemetry import CircuitOpen, get_logger
from telemetry.cache import Cache

log = get_logger("llm_orchestrator")


@dataclass(frozen=True, slots=True)
class Turn:
    """What is asked; ``tool`` is called with the message first, and told by the headers ``caller`` whose chat it is."""

    message: str
    model: str
    tool: str | None
    caller: httpx.Headers

    @property
    def key(self) -> str:
        """Name of its answer in the cache."""
        return hashlib.sha256(f"{self.model}\0{self.tool}\0{self.message}".encode()).hexdigest()


class Chat:
    """Answers turns. Raises what the cache's store, the tools and the providers raise."""

    def __init__(self, providers: Providers, tools: Tools, cache: Cache, accounts: ChatAccounts) -> None:
        self._providers = providers
        self._tools = tools
        self._cache = cache
        self._accounts = accounts

    async def answer(self, turn: Turn) -> dict[str, Any]:
        """The whole answer."""
        if (cached := await self._cached(turn)) is not None:
            return cached
        tool = await self._use_tool(turn)
        model = turn.model
        try:
            completion = await self._providers.complete(model, turn.message)
        except CircuitOpen as error:
            model = self._other(turn, error)
            completion = await self._providers.complete(model, turn.message)
        return await self._finish(turn, model, tool, completion.text, completion.usage)

    async def stream(self, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        """``{"delta": "…"}`` as it comes, then what ``answer`` would have answered."""
        if (cached := await self._cached(turn)) is not None:
            yield {"delta": cached["answer"]}
            yield cached
            return
        tool = await self._use_tool(turn)
        model = turn.model
        parts = _Parts()
        try:
            async for part in self._follow(model, turn.message, parts):
                yield part
        except CircuitOpen as error:
            model = self._other(turn, error)
            async for part in self._follow(model, turn.message, parts):
                yield part
        yield await self._finish(turn, model, tool, "".join(parts.text), parts.usage)

    async def _follow(self, model: str, message: str, parts: "_Parts") -> AsyncIterator[dict[str, Any]]:
        start = time.perf_counter()
        async with aclosing(self._providers.stream(model, message)) as deltas:
            async for delta in deltas:
                parts.input = parts.input if delta.input is None else delta.input
                parts.output = parts.output if delta.output is None else delta.output
                if delta.text:
                    if not parts.text:
                        self._accounts.first_token(model, time.perf_counter() - start)
                    parts.text.append(delta.text)
                    yield {"delta": delta.text}

    async def _cached(self, turn: Turn) -> dict[str, Any] | None:
        found, _result = await self._cache.get(turn.key)
        return None if found is None else {**found, "cached": True}

    async def _use_tool(self, turn: Turn) -> Any:
        if turn.tool is None:
            return None
        return await self._tools.call(turn.tool, {"text": turn.message}, turn.caller)

    def _other(self, turn: Turn, error: CircuitOpen) -> str:
        """The model that answers instead; raises ``error`` where there is none."""
        fallback = MODELS[turn.model].fallback
        if fallback is None:
            raise error
        self._accounts.fallback(turn.model, fallback)
        log.warning("another model answers", model=turn.model, fallback=fallback)
        return fallback

    async def _finish(self, turn: Turn, model: str, tool: Any, text: str, usage: Usage) -> dict[str, Any]:
        answer = {
            "answer": text,
            "provider": MODELS[model].provider,
            "model": model,
            "tokens": {"input": usage.input, "output": usage.output},
            "cost_usd": MODELS[model].cost(usage.input, usage.output),
            "tool": tool,
        }
        await self._cache.set(turn.key, answer)
        return {**answer, "cached": False}


class _Parts:
    """What has come of a stream so far."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.input = 0
        self.output = 0

    @property
    def usage(self) -> Usage:
        return Usage(self.input, self.output)


def event(data: dict[str, Any], name: str | None = None) -> str:
    """A server-sent event."""
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n"
