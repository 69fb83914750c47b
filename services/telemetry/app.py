"""The one call that makes a service observable, and the main function of every service."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from opentelemetry.sdk.trace.export import SpanExporter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry import client, logs, web
from telemetry.breaker import Breakers
from telemetry.errors import DependencyError, SettingsError
from telemetry.health import TIMEOUT_SECONDS, Health
from telemetry.metrics import Metrics
from telemetry.middleware import Observed
from telemetry.settings import Settings
from telemetry.tracing import Tracing

if TYPE_CHECKING:
    from telemetry.cache import Cache
    from telemetry.postgres import Postgres
    from telemetry.redis_store import RedisStore

SHUTDOWN_SECONDS = 3
Measure = Callable[[], Awaitable[None]]


class Telemetry:
    """Metrics, logs, traces, health and clients of one service; a client is also a health check."""

    def __init__(self, settings: Settings, exporter: SpanExporter | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.service)
        self.tracing = Tracing(settings, exporter)
        self.breakers = Breakers(self.metrics)
        self.health = Health(settings.service, settings.version, self.metrics)
        self._resources: list[AbstractAsyncContextManager[Any]] = []
        self._measures: list[Measure] = []
        messages = self.metrics.counter("log_messages_total", "Log lines written, by level.", ["level"])
        for level in ("info", "warning", "error"):
            messages.labels(level)
        logs.configure(settings.service, messages)
        build = self.metrics.gauge("build_info", "Always 1; what runs is in the labels.", ["version", "revision"])
        build.labels(settings.version, settings.revision).set(1)

    def client(
        self, dependency: str, timeout: float = 10.0, inner: httpx.AsyncBaseTransport | None = None
    ) -> httpx.AsyncClient:
        """Client of the service ``dependency`` (UPSTREAM_…), closed at shutdown. ``timeout`` in seconds."""
        base_url = self.settings.upstream(dependency)
        found = client.build(dependency, base_url, self.tracing, self.breakers, timeout, inner)
        # Its own client: a health check must neither be traced nor held back by the breaker.
        checker = client.plain(base_url, TIMEOUT_SECONDS)

        async def live() -> None:
            (await checker.get("/live")).raise_for_status()

        self.breakers.declare(dependency)
        self.health.add(dependency, live)
        self._resources += [found, checker]
        return found

    def redis(self) -> "RedisStore":
        """Redis of REDIS_URL and REDIS_PASSWORD_FILE."""
        # Imported here, as asyncpg below: a process that does not need them saves their memory.
        from telemetry.redis_store import NAME, RedisStore

        password = self.settings.optional_secret("REDIS_PASSWORD_FILE")
        store = RedisStore(self.settings.required("REDIS_URL"), password, self.tracing, self.breakers)
        self.breakers.declare(NAME)
        self.health.add(NAME, store.ping)
        self._resources.append(store)
        return store

    def cache(self, store: "RedisStore", prefix: str, seconds: int) -> "Cache":
        """A cache in Redis; a service has at most one, for its counter has no label for a second."""
        from telemetry.cache import Cache

        return Cache(store, prefix, seconds, self.metrics)

    def postgres(self, schema: str) -> "Postgres":
        """PostgreSQL of DATABASE_URL and DATABASE_PASSWORD_FILE; ``schema`` runs at the first connection."""
        from telemetry.postgres import NAME, Postgres

        password = self.settings.optional_secret("DATABASE_PASSWORD_FILE")
        dsn = self.settings.required("DATABASE_URL")
        database = Postgres(dsn, password, schema, self.metrics, self.tracing, self.breakers)
        self.breakers.declare(NAME)
        self.health.add(NAME, database.ping)
        self.before_scrape(database.measure)
        self._resources.append(database)
        return database

    def before_scrape(self, measure: Measure) -> None:
        """Run ``measure`` before /metrics answers, to set gauges whose truth is elsewhere."""
        self._measures.append(measure)

    def background(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` from start to shutdown; an exception in it is logged, and it starts again."""
        self._resources.append(_background(work))

    def app(self, routes: Sequence[BaseRoute]) -> ASGIApp:
        """The ASGI application: the routes, observed, and /health, /live, /live/metrics, /metrics."""
        inner = Starlette(
            routes=list(routes),
            lifespan=self._lifespan,
            exception_handlers={
                HTTPException: web.on_http_exception,
                DependencyError: web.on_dependency_error,
                Exception: web.on_exception,
            },
        )
        return _Endpoints(Observed(inner, self.metrics, self.tracing), self)

    async def measure(self) -> None:
        """Bring gauges up to date: health and what was given to ``before_scrape``; bounded, never raises."""
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                await asyncio.gather(self.health.report(), *(m() for m in self._measures), return_exceptions=True)
        except TimeoutError:
            logs.get_logger("telemetry").warning("gauges could not be brought up to date in time")

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        try:
            async with AsyncExitStack() as stack:
                for resource in self._resources:
                    await stack.enter_async_context(resource)
                yield
        finally:
            await asyncio.to_thread(self.tracing.shutdown)


class _Endpoints:
    """Endpoints of the stack itself: neither traced, counted nor logged."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        body = (
            "# HELP service_live 1 while the process answers.\n# TYPE service_live gauge\n"
            f'service_live{{service="{telemetry.settings.service}"}} 1\n'
        )
        self._live_metrics = Response(body, media_type="text/plain; version=0.0.4")
        self._live = PlainTextResponse("ok")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else None
        if path == "/live/metrics":
            await self._live_metrics(scope, receive, send)
        elif path == "/live":
            await self._live(scope, receive, send)
        elif path == "/health":
            status, body = await self._telemetry.health.report()
            await JSONResponse(body, status)(scope, receive, send)
        elif path == "/metrics":
            await self._telemetry.measure()
            accept = ",".join(v.decode("latin-1") for n, v in scope["headers"] if n == b"accept")
            exposition, content_type = self._telemetry.metrics.expose(accept)
            await Response(exposition, headers={"content-type": content_type})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@asynccontextmanager
async def _background(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async def forever() -> None:
        while True:
            try:
                await work()
                return
            except DependencyError as error:
                logs.get_logger("telemetry").error("background work is held up", error=str(error))
                await asyncio.sleep(1)
            except Exception as error:
                logs.get_logger("telemetry").error("background work failed", exc_info=error)
                await asyncio.sleep(1)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(build: Callable[[Telemetry], ASGIApp]) -> None:
    """Settings, ``build``, serve until SIGTERM. Exits with 2 for wrong settings."""
    try:
        telemetry = Telemetry(Settings.load())
        app = build(telemetry)
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        sys.exit(2)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logs.get_logger("telemetry").info("starting", port=telemetry.settings.port, version=telemetry.settings.version)
    uvicorn.run(
        app,
        host="0.0.0.0",
        port=telemetry.settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
