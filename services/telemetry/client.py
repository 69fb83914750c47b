"""HTTP client of a declared dependency: client spans, trace context and ids out, circuit breaker."""

import ssl
from functools import cache

import httpx
from opentelemetry.trace import SpanKind

from telemetry import ids, tracing
from telemetry.breaker import Breakers
from telemetry.errors import DependencyError, TimedOut, Unreachable
from telemetry.tracing import Tracing

CONNECT_TIMEOUT_SECONDS = 1.0


class _ServerError(DependencyError):
    """Counts a 5xx answer as a failure of the breaker; the caller still gets the response."""


class ObservedTransport(httpx.AsyncBaseTransport):
    """Wraps a transport. Raises Unreachable, TimedOut or CircuitOpen instead of httpx's errors."""

    def __init__(self, inner: httpx.AsyncBaseTransport, dependency: str, tracing: Tracing, breakers: Breakers) -> None:
        self.inner = inner
        self._dependency = dependency
        self._tracing = tracing
        self._breakers = breakers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "server.address": request.url.host,
            "server.port": request.url.port or 80,
            "peer.service": self._dependency,
        }
        with self._tracing.tracer.start_as_current_span(
            f"{request.method} {self._dependency}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            request.headers.update(tracing.inject(ids.headers()))
            try:
                response = await self._send(request)
            except DependencyError as error:
                tracing.fail(span, error.code)
                raise
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 400:
                tracing.fail(span, str(response.status_code))
            return response

    async def _send(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response | None = None
        try:
            async with self._breakers.guard(self._dependency):
                try:
                    response = await self.inner.handle_async_request(request)
                except httpx.TimeoutException as error:
                    raise TimedOut(self._dependency, type(error).__name__) from error
                except httpx.TransportError as error:
                    raise Unreachable(self._dependency, str(error) or type(error).__name__) from error
                if response.status_code >= 500:
                    raise _ServerError(self._dependency, str(response.status_code))
        except _ServerError:
            pass
        assert response is not None
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


@cache
def _trust(tls: bool) -> ssl.SSLContext:
    """One TLS context for all clients: httpx would load the CA bundle (1 MiB, 20 ms) for each."""
    return httpx.create_ssl_context(trust_env=False) if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain(base_url: str, timeout: float) -> httpx.AsyncClient:
    """A client without spans, ids and breaker, for health checks; ``timeout`` in seconds."""
    verify = _trust(base_url.startswith("https:"))
    return httpx.AsyncClient(base_url=base_url, timeout=timeout, trust_env=False, verify=verify)


def build(
    dependency: str,
    base_url: str,
    tracing: Tracing,
    breakers: Breakers,
    timeout: float,
    inner: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """An httpx.AsyncClient for ``dependency``; ``timeout`` in seconds for each of write, read and pool."""
    verify = _trust(base_url.startswith("https:"))
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=10)
    transport = inner or httpx.AsyncHTTPTransport(verify=verify, limits=limits)
    return httpx.AsyncClient(
        base_url=base_url,
        transport=ObservedTransport(transport, dependency, tracing, breakers),
        timeout=httpx.Timeout(timeout, connect=CONNECT_TIMEOUT_SECONDS),
        trust_env=False,
        verify=verify,
    )
