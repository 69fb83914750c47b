"""Cost of a request's telemetry: ours beside the usual ASGI middlewares, same app, one run, on one core.

*ours* is ``Telemetry.instrument``: metrics with exemplars, ids, one masked access line, one span, health endpoints.
*theirs* is prometheus-fastapi-instrumentator, opentelemetry-instrumentation-asgi and one structlog line a request.
Both export spans in batches to an exporter that renders OTLP and throws it away. The figure is processor time of the
whole process, export threads included, so that other work on the machine does not count.
"""

from __future__ import annotations

import asyncio
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry import Settings, Telemetry

ROUNDS = 15
REQUESTS = 2000
WARM_UP = 1000
MICROSECONDS = 1e6


class Discard(SpanExporter):
    """Renders spans as OTLP and throws them away: what a service pays, without the network."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def starlette_app() -> Starlette:
    """An application of one route."""

    async def item(request: Request) -> Response:
        return PlainTextResponse(request.path_params["item"])

    return Starlette(routes=[Route("/items/{item}", item)])


def fastapi_app() -> FastAPI:
    """The same in FastAPI."""
    app = FastAPI()

    @app.get("/items/{item}")
    async def item(item: str) -> Response:
        return PlainTextResponse(item)

    return app


def ours(app: ASGIApp) -> ASGIApp:
    """``app`` observed by the library."""
    return Telemetry(Settings(service="bench"), Discard()).instrument(app)


def theirs(app: Any) -> ASGIApp:
    """``app`` observed by the usual middlewares, with a log line a request."""
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    Instrumentator(registry=CollectorRegistry()).instrument(app)
    return OpenTelemetryMiddleware(_logged(app), tracer_provider=provider)


def _logged(app: ASGIApp) -> ASGIApp:
    def add_trace(_logger: Any, _method: str, event: Any) -> Any:
        context = trace.get_current_span().get_span_context()
        event["trace_id"], event["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        return event

    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stdout),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_trace,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=True,
    )

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        status = 0

        async def remember(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await app(scope, receive, remember)
        seconds = round(time.perf_counter() - start, 6)
        log.info("request", method=scope["method"], path=scope["path"], status=status, duration_seconds=seconds)

    return logged


async def ask(app: ASGIApp, count: int) -> float:
    """Processor seconds for ``count`` requests, one after the other."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Message) -> None:
        return None

    headers = [(b"host", b"shop"), (b"user-agent", b"bench"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip")]
    start = time.process_time()
    for number in range(count):
        await app(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": f"/items/{number}",
                "raw_path": f"/items/{number}".encode(),
                "query_string": b"",
                "root_path": "",
                "headers": list(headers),
                "client": ("127.0.0.1", 50000),
                "server": ("127.0.0.1", 8000),
                "state": {},
            },
            receive,
            send,
        )
    return time.process_time() - start


@contextmanager
def quiet_on_one_core() -> Iterator[None]:
    """Log lines go to the null device, and the process stays on one core."""
    cores, stdout = os.sched_getaffinity(0), sys.stdout
    os.sched_setaffinity(0, {min(cores)})
    sys.stdout = io.TextIOWrapper(open(os.devnull, "wb"))  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout = stdout
        os.sched_setaffinity(0, cores)


def measure() -> Iterator[dict[str, Any]]:
    """Microseconds a request added by ours and by theirs, for Starlette and FastAPI; the median of the rounds."""
    kinds: dict[str, Callable[[], Any]] = {"starlette": starlette_app, "fastapi": fastapi_app}
    for framework, build in kinds.items():
        with quiet_on_one_core():
            apps = {"bare": build(), "ours": ours(build()), "theirs": theirs(build())}
            seconds: dict[str, list[float]] = {name: [] for name in apps}
            for app in apps.values():
                asyncio.run(ask(app, WARM_UP))
            for _ in range(ROUNDS):
                for name, app in apps.items():
                    seconds[name].append(asyncio.run(ask(app, REQUESTS)))
        us = {name: statistics.median(found) / REQUESTS * MICROSECONDS for name, found in seconds.items()}
        added = {name: us[name] - us["bare"] for name in ("ours", "theirs")}
        yield {
            "framework": framework,
            **{f"{name}_us": round(found, 1) for name, found in us.items()},
            "added_by_ours_us": round(added["ours"], 1),
            "added_by_theirs_us": round(added["theirs"], 1),
            "ratio_of_added": round(added["ours"] / added["theirs"], 3),
            "ratio_of_whole": round(us["ours"] / us["theirs"], 3),
        }
