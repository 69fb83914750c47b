"""ASGI middleware: span, RED metrics with exemplars, ids and one access line for each request."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram

from telemetry import answers, ids, tracing
from telemetry.errors import DependencyError
from telemetry.logs import get_logger
from telemetry.metrics import Metrics
from telemetry.templates import Templates
from telemetry.tracing import Tracing

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
CLIENT_WENT_AWAY = 499
FAILED = 500
_NO_CONTEXT = otel_context.Context()
_READ = frozenset({b"traceparent", b"tracestate", b"x-request-id", b"x-correlation-id"})
_WRITTEN = (ids.REQUEST_HEADER.encode(), ids.CORRELATION_HEADER.encode())


class Observed:
    """Wraps the application. An exception that reaches it is logged and answered with 500, never raised; a
    DependencyError with its own status, as far as the application has not answered itself.

    The status that is counted is what came of the request, not only what its first line said: a response that broke
    off in the middle is a 500, or what a dependency's failure is answered with where that broke off; one whose client
    went away is a 499.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing
        self._templates = Templates()
        labels = ["method", "route"]
        self._requests = metrics.counter("http_requests_total", "Requests answered.", [*labels, "status"])
        self._seconds = metrics.histogram("http_request_duration_seconds", "Duration of requests.", labels)
        self._in_flight = metrics.gauge("http_requests_in_flight", "Requests being answered.")
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._log = get_logger("telemetry.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = _known_headers(scope)
        bound = ids.accept(headers.get("x-request-id"), headers.get("x-correlation-id"))
        parent = tracing.extract(headers) if "traceparent" in headers else _NO_CONTEXT
        method = scope["method"] if scope["method"] in METHODS else OTHER
        root_path = scope.get("root_path", "")
        span = self._tracing.tracer.start_span(method, parent, SpanKind.SERVER)
        token = otel_context.attach(trace.set_span_in_context(span, parent))
        ids_token = ids.bind(bound)
        exchange = _Exchange(receive, send, bound)
        slow = asyncio.get_running_loop().call_later(self._tracing.slow_after, self._tracing.mark_slow, span)
        self._in_flight.inc()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            exchange.cancelled = True
            raise
        except Exception as error:
            await self._on_exception(exchange, error)
        finally:
            slow.cancel()
            self._in_flight.dec()
            seconds = (exchange.ended or time.perf_counter()) - start
            self._finish(span, method, self._templates.of(scope, root_path), exchange, seconds)
            span.end()
            otel_context.detach(token)
            ids.unbind(ids_token)

    async def _on_exception(self, exchange: _Exchange, error: Exception) -> None:
        if exchange.client_is_gone and _is_disconnect(error):
            # Nobody is left to answer, and nothing failed.
            return
        # Where an answer has begun, Starlette raises an error of its own from one that it has a handler for.
        failed = error.__cause__ if exchange.status and not isinstance(error, DependencyError) else error
        if isinstance(failed, DependencyError):
            exchange.error, exchange.failed = failed.code, failed.status
            self._log.error("dependency failed", dependency=failed.dependency, reason=failed.reason, code=failed.code)
            if not exchange.status:
                await answers.send_dependency_error(exchange.send, failed)
            return
        exchange.error = type(error).__name__
        self._log.error("unhandled exception", exc_info=error)
        if not exchange.status:
            await answers.send_internal_error(exchange.send)

    def _finish(self, span: trace.Span, method: str, route: str, exchange: _Exchange, seconds: float) -> None:
        status, reason = exchange.outcome()
        trace_id = span.get_span_context().trace_id
        keep = self._tracing.keep(trace_id, reason is not None, seconds)
        span.update_name(f"{method} {route}")
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "lookout.request_id": exchange.ids.request,
            "lookout.correlation_id": exchange.ids.correlation,
        }
        if keep:
            attributes[tracing.KEEP] = True
        span.set_attributes(attributes)
        series = self._series.get((method, route, status))
        if series is None:
            series = self._requests.labels(method, route, status), self._seconds.labels(method, route)
            self._series[method, route, status] = series
        series[0].inc()
        series[1].observe(seconds, {"trace_id": f"{trace_id:032x}"} if keep else None)
        fields: dict[str, Any] = {"method": method, "route": route, "status": status}
        fields["duration_seconds"] = round(seconds, 6)
        if exchange.status not in (0, status):
            fields["status_sent"] = exchange.status
        if reason is None:
            self._log.info("request", **fields)
        else:
            tracing.fail(span, reason)
            self._log.error("request", error_type=reason, **fields)


class _Exchange:
    """What happens between server and application; adds the ids to the response."""

    __slots__ = (
        "_receive",
        "_send",
        "cancelled",
        "client_is_gone",
        "ended",
        "error",
        "failed",
        "ids",
        "status",
        "too_late",
    )

    def __init__(self, receive: Receive, send: Send, bound: ids.Ids) -> None:
        self._receive = receive
        self._send = send
        self.ids = bound
        self.status = 0
        self.ended: float | None = None
        self.client_is_gone = False
        self.too_late = False
        self.cancelled = False
        self.error: str | None = None
        self.failed = FAILED

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.client_is_gone = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            self.too_late = self.client_is_gone
            headers = [header for header in message.get("headers", ()) if header[0] not in _WRITTEN]
            headers.append((_WRITTEN[0], self.ids.request.encode()))
            headers.append((_WRITTEN[1], self.ids.correlation.encode()))
            message = {**message, "headers": headers}
        await self._send(message)
        if kind == "http.response.pathsend" or (kind == "http.response.body" and not message.get("more_body")):
            self.ended = time.perf_counter()

    def outcome(self) -> tuple[int, str | None]:
        """The status to count, and why the request failed (None where it did not)."""
        if self.ended is not None and not self.too_late:
            # All of it was sent. An error after that is one of background work, not of the response.
            return self.status, self.error or (str(self.status) if self.status >= FAILED else None)
        if self.error is not None:
            return self.failed, self.error
        if self.client_is_gone:
            return CLIENT_WENT_AWAY, None
        return FAILED, "cancelled" if self.cancelled else "incomplete_response"


def _is_disconnect(error: Exception) -> bool:
    # Starlette's ClientDisconnect, without importing Starlette; uvicorn's is a subclass of OSError of the same name.
    return any(kind.__name__ in ("ClientDisconnect", "ClientDisconnected") for kind in type(error).__mro__)


def _known_headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            key, text = name.decode(), value.decode("latin-1")
            # A list over several headers is one list (RFC 9110, 5.3), which tracestate is allowed to be.
            found[key] = f"{found[key]},{text}" if key in found else text
    return found
