"""ASGI middleware: span, RED metrics with exemplars, ids and one access line for each request."""

import asyncio
import time
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry import ids, tracing, web
from telemetry.logs import get_logger
from telemetry.metrics import Metrics
from telemetry.tracing import Tracing

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED = "unmatched"
OTHER = "other"
CLIENT_WENT_AWAY = 499
_NO_CONTEXT = otel_context.Context()
log = get_logger("telemetry.access")


class Observed:
    """Wraps the application. An exception that reaches it is logged and answered with 500, never raised."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing
        labels = ["method", "route"]
        self._requests = metrics.counter("http_requests_total", "Requests answered.", [*labels, "status"])
        self._seconds = metrics.histogram("http_request_duration_seconds", "Duration of requests.", labels)
        self._in_flight = metrics.gauge("http_requests_in_flight", "Requests being answered.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = _known_headers(scope)
        bound = ids.accept(headers.get("x-request-id"), headers.get("x-correlation-id"))
        ids.bind(bound)
        parent = tracing.extract(headers) if "traceparent" in headers else _NO_CONTEXT
        method = scope["method"] if scope["method"] in METHODS else OTHER
        span = self._tracing.tracer.start_span(method, parent, SpanKind.SERVER)
        token = otel_context.attach(trace.set_span_in_context(span, parent))
        exchange = _Exchange(send, bound)
        self._in_flight.inc()
        try:
            await self._app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            exchange.status = exchange.status or CLIENT_WENT_AWAY
            raise
        except Exception as error:
            log.error("unhandled exception", exc_info=error)
            exchange.failed = type(error).__name__
            if not exchange.status:
                await (await web.on_exception(Request(scope), error))(scope, receive, exchange.send)
        finally:
            self._in_flight.dec()
            self._finish(span, scope, method, exchange, bound, time.perf_counter() - start)
            span.end()
            otel_context.detach(token)

    def _finish(
        self,
        span: trace.Span,
        scope: Scope,
        method: str,
        exchange: "_Exchange",
        bound: ids.Ids,
        seconds: float,
    ) -> None:
        route: str = getattr(scope.get("route"), "path", None) or UNMATCHED
        status = exchange.status or CLIENT_WENT_AWAY
        failed = status >= 500 or exchange.failed is not None
        trace_id = span.get_span_context().trace_id
        keep = self._tracing.keep(trace_id, failed, seconds)
        span.update_name(f"{method} {route}")
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "lookout.request_id": bound.request,
            "lookout.correlation_id": bound.correlation,
        }
        if keep:
            attributes[tracing.KEEP] = True
        span.set_attributes(attributes)
        if failed:
            tracing.fail(span, exchange.failed or str(status))
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds, {"trace_id": f"{trace_id:032x}"} if keep else None)
        write = log.error if failed else log.info
        write("request", method=method, route=route, status=status, duration_seconds=round(seconds, 6))


class _Exchange:
    """Remembers the status of the response and adds the ids to its headers."""

    def __init__(self, send: Send, bound: ids.Ids) -> None:
        self._send = send
        self._headers = [
            (ids.REQUEST_HEADER.encode(), bound.request.encode()),
            (ids.CORRELATION_HEADER.encode(), bound.correlation.encode()),
        ]
        self.status = 0
        self.failed: str | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        await self._send(message)


def _known_headers(scope: Scope) -> dict[str, str]:
    wanted = {b"traceparent", b"tracestate", b"x-request-id", b"x-correlation-id"}
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in wanted}
