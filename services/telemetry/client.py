"""HTTP client of a declared dependency: client spans, trace context and ids out, circuit breaker, retries."""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import httpx
import stamina
from opentelemetry import trace

from telemetry import ids, tracing
from telemetry.breaker import Breakers, Call
from telemetry.errors import FAILED_HEADER, CircuitOpen, DependencyError, TimedOut, Unreachable
from telemetry.tracing import Tracing

CONNECT_TIMEOUT_SECONDS = 1.0
# For which an idle connection is used again: less than the 5 s after which many a server closes it.
KEEP_ALIVE_SECONDS = 3.0
# Methods that do no more when they come twice (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
# What a gateway says of a server behind it (RFC 9110, 15.6.3 and 15.6.5).
OF_ANOTHER = frozenset({502, 504})
ATTEMPTS = 3
WAIT_SECONDS, LONGEST_WAIT_SECONDS, JITTER_SECONDS = 0.05, 0.5, 0.1


class ObservedTransport(httpx.AsyncBaseTransport):
    """Wraps a transport. Raises Unreachable, TimedOut or CircuitOpen instead of httpx's errors, also in a body.

    LocalProtocolError stays what it is: a request that HTTP cannot carry is a mistake of who made it, not a failure of
    the dependency, and the breaker does not learn anything from it.
    A request that may come twice is sent up to ATTEMPTS times where there was no connection, or it broke before an
    answer. The breaker sees what came of it in the end. What was answered is not asked again, for the service that
    answered has tried already, and tries multiply along a chain of services; nor is what timed out: the caller has
    waited enough.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, dependency: str, tracing: Tracing, breakers: Breakers) -> None:
        self.inner = inner
        self._dependency = dependency
        self._tracing = tracing
        self._breakers = breakers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        attempts = ATTEMPTS if _may_come_twice(request) else 1
        try:
            with self._breakers.guard(self._dependency) as call:
                async for attempt in stamina.retry_context(
                    on=Unreachable,
                    attempts=attempts,
                    timeout=None,
                    wait_initial=WAIT_SECONDS,
                    wait_max=LONGEST_WAIT_SECONDS,
                    wait_jitter=JITTER_SECONDS,
                ):
                    with attempt:
                        return await self._attempt(request, attempt.num, call)
        except CircuitOpen:
            # Not asked at all, which the trace should show as well.
            with self._span(request, 1):
                raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, request: httpx.Request, number: int, call: Call) -> httpx.Response:
        with self._span(request, number) as span:
            request.headers.update(tracing.inject(ids.headers()))
            try:
                with _errors_of(self._dependency):
                    response = await self.inner.handle_async_request(request)
            except httpx.LocalProtocolError as error:
                call.forgotten()
                tracing.fail(span, type(error).__name__)
                raise
            assert isinstance(response.stream, httpx.AsyncByteStream)
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 400:
                tracing.fail(span, str(response.status_code))
        if response.status_code < 500 or _is_of_another(response):
            call.begun()
        else:
            # The caller still gets the answer.
            call.ended(DependencyError(self._dependency, str(response.status_code)))
        body = response.stream = _Body(response.stream, self._dependency, call, span)
        if response.is_closed:
            # A transport that does not stream has read it already.
            body.end()
        return response

    def _span(self, request: httpx.Request, number: int) -> AbstractContextManager[trace.Span]:
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "server.address": request.url.host,
            "server.port": request.url.port or (443 if request.url.scheme == "https" else 80),
            "peer.service": self._dependency,
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        return self._tracing.lasting_client_span(f"{request.method} {self._dependency}", attributes)

    async def aclose(self) -> None:
        await self.inner.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which may break off; call and span end with it."""

    def __init__(self, inner: httpx.AsyncByteStream, dependency: str, call: Call, span: trace.Span) -> None:
        self._inner = inner
        self._dependency = dependency
        self._call = call
        self._span = span

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            with _errors_of(self._dependency):
                async for part in self._inner:
                    yield part
        except DependencyError as error:
            tracing.fail(self._span, error.code)
            self._call.ended(error)
            raise
        except asyncio.CancelledError:
            # Nobody knows whether more would have come in time.
            self._call.forgotten()
            raise

    async def aclose(self) -> None:
        # httpx closes whatever it has begun to read, also after an error. Closed early, it was as long as it had to be.
        self.end()
        await self._inner.aclose()

    def end(self) -> None:
        """The end of call and span, however far the body has come."""
        self._call.ended()
        if self._span.is_recording():
            self._span.end()


@contextmanager
def _errors_of(dependency: str) -> Iterator[None]:
    """httpx's errors as those of the dependency."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise TimedOut(dependency, type(error).__name__) from error
    except httpx.LocalProtocolError:
        raise
    except httpx.TransportError as error:
        raise Unreachable(dependency, str(error) or type(error).__name__) from error


def _is_of_another(response: httpx.Response) -> bool:
    """Whether a failure is that of somebody behind the dependency, which itself is there and answers."""
    return response.status_code in OF_ANOTHER or FAILED_HEADER in response.headers


def _may_come_twice(request: httpx.Request) -> bool:
    # A body that is read from somewhere cannot be read again.
    return request.method in IDEMPOTENT and isinstance(request.stream, httpx.ByteStream)


def retry_after(headers: httpx.Headers, default: float) -> float:
    """Seconds of Retry-After, never negative; ``default`` where it is absent or no finite number, such as a date."""
    try:
        seconds = float(headers["retry-after"])
    except (KeyError, ValueError):
        return default
    return max(seconds, 0.0) if math.isfinite(seconds) else default


@cache
def _trust(tls: bool) -> ssl.SSLContext:
    """One TLS context for all clients: httpx would load the CA bundle (1 MiB, 20 ms) for each."""
    return httpx.create_ssl_context(trust_env=False) if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain(base_url: str, timeout: float) -> httpx.AsyncClient:
    """A client without spans, ids and breaker, for health checks; ``timeout`` in seconds."""
    verify = _trust(base_url.startswith("https:"))
    limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)
    return httpx.AsyncClient(base_url=base_url, timeout=timeout, limits=limits, trust_env=False, verify=verify)


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
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=10, keepalive_expiry=KEEP_ALIVE_SECONDS)
    transport = inner or httpx.AsyncHTTPTransport(verify=verify, limits=limits)
    return httpx.AsyncClient(
        base_url=base_url,
        transport=ObservedTransport(transport, dependency, tracing, breakers),
        timeout=httpx.Timeout(timeout, connect=CONNECT_TIMEOUT_SECONDS),
        trust_env=False,
        verify=verify,
    )
