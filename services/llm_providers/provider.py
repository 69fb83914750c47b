"""One provider over HTTP: a request, its answer or its stream, its errors."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx

from llm_providers.completion import Completion, Delta, Dialect, Limit, StreamError
from llm_providers.errors import ProviderError, ProviderFailed, ProviderRefused, ProviderThrottled
from telemetry.client import retry_after

DEFAULT_RETRY_AFTER_SECONDS = 1.0
MAX_REASON = 200
NONSENSE = (KeyError, TypeError, ValueError, IndexError, AttributeError)


class Provider:
    """Raises ProviderError, or DependencyError where the provider cannot be reached."""

    def __init__(self, name: str, dialect: Dialect, http: httpx.AsyncClient, key: str) -> None:
        self.name = name
        self._dialect = dialect
        self._http = http
        self._headers = dialect.headers(key)

    async def complete(self, model: str, message: str) -> tuple[Completion, list[Limit]]:
        """The whole answer, and what is left of the limits."""
        async with self._ask(model, message, False) as response:
            await response.aread()
            try:
                completion = self._dialect.completion(response.json())
            except NONSENSE as error:
                raise ProviderFailed(self.name, response.status_code, "no completion", again=False) from error
            return completion, self._dialect.limits(response.headers)

    @asynccontextmanager
    async def stream(self, model: str, message: str) -> AsyncIterator[tuple[AsyncGenerator[Delta, None], list[Limit]]]:
        """The answer event by event, and what is left of the limits. A stream that ends early is a failure."""
        async with self._ask(model, message, True) as response:
            yield self._deltas(response), self._dialect.limits(response.headers)

    async def _deltas(self, response: httpx.Response) -> AsyncGenerator[Delta, None]:
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            try:
                delta = self._dialect.delta(line.removeprefix("data:").strip())
            except StreamError as error:
                raise ProviderFailed(self.name, response.status_code, str(error)[:MAX_REASON], again=False) from error
            except NONSENSE as error:
                raise ProviderFailed(self.name, response.status_code, "no event", again=False) from error
            yield delta
            if delta.last:
                return
        raise ProviderFailed(self.name, response.status_code, "the stream broke off", again=False)

    @asynccontextmanager
    async def _ask(self, model: str, message: str, stream: bool) -> AsyncIterator[httpx.Response]:
        body = self._dialect.body(model, message, stream)
        async with self._http.stream("POST", self._dialect.path, json=body, headers=self._headers) as response:
            if response.is_error:
                await response.aread()
                raise self._error(response)
            yield response

    def _error(self, response: httpx.Response) -> ProviderError:
        code, reason = response.status_code, response.text[:MAX_REASON]
        if code == 429:
            wait = retry_after(response.headers, DEFAULT_RETRY_AFTER_SECONDS)
            return ProviderThrottled(self.name, code, reason, wait)
        if code < 500:
            return ProviderRefused(self.name, code, reason)
        return ProviderFailed(self.name, code, reason)
