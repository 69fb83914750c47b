"""All providers: asks the one of a model, again where that is safe, and keeps the accounts."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, contextmanager

import httpx
from opentelemetry import trace

from llm_providers.accounts import Accounts
from llm_providers.catalogue import MODELS, PROVIDERS
from llm_providers.chat_completions import ChatCompletions
from llm_providers.completion import Completion, Delta, Dialect, Limit, Usage
from llm_providers.errors import ProviderError, ProviderFailed, ProviderThrottled
from llm_providers.messages import Messages
from llm_providers.provider import Provider
from telemetry import DependencyError, Telemetry, get_logger, tracing

UPSTREAM = "simulators"
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 2
MAX_RETRY_AFTER_SECONDS = 2.0
"""A longer wait is the caller's to decide on: whoever holds the connection would wait with it."""
BACKOFF_SECONDS = (0.1, 0.4)
"""Drawn anew each time, so that those who failed together don't come back together."""

DIALECTS: dict[str, Dialect] = {
    "mistral": ChatCompletions(
        "/v1/chat/completions",
        {"requests": "x-ratelimit-remaining-req-minute", "tokens": "x-ratelimit-remaining-tokens-minute"},
    ),
    "kimi": ChatCompletions("/v1/chat/completions", {"requests": "x-ratelimit-remaining"}),
    "glm": ChatCompletions("/api/paas/v4/chat/completions"),
    "claude": Messages(),
}
log = get_logger("llm_providers")


class Providers:
    """Needs UPSTREAM_SIMULATORS and PROVIDER_API_KEY_FILE. Each provider has a circuit breaker of its own name."""

    def __init__(self, telemetry: Telemetry, accounts: Accounts, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._tracer = telemetry.tracing.tracer
        self._accounts = accounts
        telemetry.client(UPSTREAM)
        base, key = telemetry.settings.upstream(UPSTREAM), telemetry.settings.secret("PROVIDER_API_KEY_FILE")
        self._providers = {
            name: Provider(
                name, DIALECTS[name], telemetry.client(name, TIMEOUT_SECONDS, inner, at=f"{base}/{name}"), key
            )
            for name in PROVIDERS
        }

    async def complete(self, model: str, message: str) -> Completion:
        """The answer of ``model``, a name of MODELS. Raises ProviderError or DependencyError."""
        attempt = 1
        while True:
            try:
                with self._request(model) as span:
                    with _current(span):
                        completion, limits = await self._of(model).complete(model, message)
                    self._told(model, limits)
                    self._bill(model, completion.usage, span)
                return completion
            except (ProviderError, DependencyError) as error:
                await self._wait(error, attempt)
            attempt += 1

    async def stream(self, model: str, message: str) -> AsyncGenerator[Delta, None]:
        """Like ``complete``, event by event; what was generated before a failure is billed too."""
        attempt = 1
        while True:
            begun = False
            try:
                async with aclosing(self._stream(model, message)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except (ProviderError, DependencyError) as error:
                if begun:
                    raise
                await self._wait(error, attempt)
            attempt += 1

    async def _stream(self, model: str, message: str) -> AsyncGenerator[Delta, None]:
        usage = Usage()
        with self._request(model) as span:
            async with AsyncExitStack() as stack:
                with _current(span):
                    deltas, limits = await stack.enter_async_context(self._of(model).stream(model, message))
                self._told(model, limits)
                await stack.enter_async_context(aclosing(deltas))
                try:
                    async for delta in deltas:
                        usage = Usage(
                            usage.input if delta.input is None else delta.input,
                            usage.output if delta.output is None else delta.output,
                        )
                        yield delta
                finally:
                    self._bill(model, usage, span)

    @contextmanager
    def _request(self, model: str) -> Iterator[trace.Span]:
        """Span, duration and count of one request (names of the OpenTelemetry conventions for generative AI)."""
        start = time.perf_counter()
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": MODELS[model].provider,
            "gen_ai.request.model": model,
        }
        span = self._tracer.start_span(f"chat {model}", attributes=attributes)
        status = "error"
        try:
            yield span
            status = "success"
        except (ProviderError, DependencyError) as error:
            status = error.status if isinstance(error, ProviderError) else error.code
            tracing.fail(span, status)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            status = "cancelled"
            raise
        finally:
            self._accounts.request(model, status, time.perf_counter() - start)
            span.end()

    def _of(self, model: str) -> Provider:
        return self._providers[MODELS[model].provider]

    def _told(self, model: str, limits: list[Limit]) -> None:
        for limit in limits:
            self._accounts.limit(MODELS[model].provider, limit)

    def _bill(self, model: str, usage: Usage, span: trace.Span) -> None:
        span.set_attribute("gen_ai.usage.input_tokens", usage.input)
        span.set_attribute("gen_ai.usage.output_tokens", usage.output)
        self._accounts.usage(model, usage)

    async def _wait(self, error: ProviderError | DependencyError, attempt: int) -> None:
        """Sleep before another attempt, or raise ``error`` where there must not be one."""
        wait = seconds_until_again(error)
        if wait is None or attempt >= ATTEMPTS:
            raise error
        log.warning("asking the provider again", error=str(error), wait_seconds=round(wait, 3), attempt=attempt)
        await asyncio.sleep(wait)


def _current(span: trace.Span) -> AbstractContextManager[trace.Span]:
    """Make ``span`` the parent of what is asked now; not around a ``yield``, which would hand it to the caller."""
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def seconds_until_again(error: ProviderError | DependencyError) -> float | None:
    """How long to wait before the same request may be made again; None where it must not be.

    Safe is what certainly generated nothing: a refusal for the rate, a server error, a connection that was never
    made. A timeout is not: the answer may be under way, and would be billed twice.
    """
    if isinstance(error, ProviderThrottled):
        wait = error.retry_after + random.uniform(*BACKOFF_SECONDS)
        return wait if error.retry_after <= MAX_RETRY_AFTER_SECONDS else None
    never_made = isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
    if never_made or (isinstance(error, ProviderFailed) and error.again):
        return random.uniform(*BACKOFF_SECONDS)
    return None
