"""The one call that makes a service observable, and the main functions of services and workers."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter

from telemetry import answers, background, logs
from telemetry.endpoints import Instrumented
from telemetry.errors import SettingsError
from telemetry.health import TIMEOUT_SECONDS, Health
from telemetry.metrics import Metrics
from telemetry.scrape import Measures
from telemetry.settings import Settings
from telemetry.stopping import Stopping
from telemetry.tracing import Tracing

# What follows is imported where it is used: a process that does not need it saves its memory, and its installation.
if TYPE_CHECKING:
    import httpx
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from telemetry.audit import Audit
    from telemetry.breaker import Breakers
    from telemetry.cache import Cache
    from telemetry.postgres import Postgres
    from telemetry.redis_store import RedisStore

Measure = Callable[[], Awaitable[None]]


class Telemetry:
    """Metrics, logs, traces, health and clients of one service; a client is also a health check."""

    def __init__(self, settings: Settings, exporter: SpanExporter | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.service)
        dropped = self.metrics.counter(
            "spans_dropped_total", "Spans that could not be sent; kept says whether their trace was to be.", ["kept"]
        )
        lost = {kept: dropped.labels(str(kept).lower()) for kept in (True, False)}
        self.tracing = Tracing(settings, exporter, lambda kept, count: lost[kept].inc(count))
        self.stopping = Stopping()
        self.health = Health(settings.service, settings.version, self.metrics)
        self._resources: list[AbstractAsyncContextManager[Any]] = []
        self._measures = Measures()
        self._measures.add(self.health.report)
        self._faults = bool(settings.environ.get("FAULTS_PORT"))
        if self._faults:
            from telemetry.faults.listener import Listener

            self._resources.append(Listener(settings.whole_number("FAULTS_PORT")))
        messages = self.metrics.counter("log_messages_total", "Log lines written, by level.", ["level"])
        logs.configure(settings.service, messages)
        build = self.metrics.gauge("build_info", "Always 1; what runs is in the labels.", ["version", "revision"])
        build.labels(settings.version, settings.revision).set(1)

    @cached_property
    def breakers(self) -> Breakers:
        """Circuit breakers of all dependencies, with their metric."""
        from telemetry.breaker import Breakers

        return Breakers(self.metrics)

    def client(
        self,
        dependency: str,
        timeout: float = 10.0,
        inner: httpx.AsyncBaseTransport | None = None,
        at: str | None = None,
    ) -> httpx.AsyncClient:
        """Client of the service ``dependency`` (UPSTREAM_…), closed at shutdown. ``timeout`` in seconds.

        ``at`` is the base URL of a dependency that is no service of ours: it has a breaker and no health check.
        """
        from telemetry import client

        base_url = at or self.settings.upstream(dependency)
        found = client.build(dependency, base_url, self.tracing, self.breakers, timeout, inner)
        if at is not None:
            self.breakers.declare(dependency)
            self._resources.append(found)
            return found
        # Its own client: a health check must neither be traced nor held back by the breaker.
        checker = client.plain(base_url, TIMEOUT_SECONDS)

        async def live() -> None:
            (await checker.get("/live")).raise_for_status()

        self.breakers.declare(dependency)
        self.health.add(dependency, live)
        self._resources += [found, checker]
        return found

    def redis(self) -> RedisStore:
        """Redis of REDIS_URL and REDIS_PASSWORD_FILE."""
        from telemetry.redis_store import NAME, RedisStore

        password = self.settings.optional_secret("REDIS_PASSWORD_FILE")
        store = RedisStore(self.settings.required("REDIS_URL"), password, self.tracing, self.breakers)
        self.breakers.declare(NAME)
        self.health.add(NAME, store.ping)
        self._resources.append(store)
        return store

    def cache(self, store: RedisStore, prefix: str, seconds: int) -> Cache:
        """A cache in Redis; a service has at most one, for its counter has no label for a second."""
        from telemetry.cache import Cache

        return Cache(store, prefix, seconds, self.metrics)

    def postgres(self, schema: str) -> Postgres:
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

    def audit(self, database: Postgres, *actions: str) -> Audit:
        """The audit log in ``database``; ``actions`` are those that the service records."""
        from telemetry.audit import Audit

        return Audit(database, self.metrics, actions)

    def before_scrape(self, measure: Measure) -> None:
        """Run ``measure`` before /metrics answers, to set gauges whose truth is elsewhere."""
        self._measures.add(measure)

    def background(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` from start to shutdown; an exception in it is logged, and it starts again."""
        self._resources.append(background.running(work))

    def instrument(self, app: ASGIApp) -> Instrumented:
        """``app``, any ASGI application, observed, with /health, /live, /live/metrics and /metrics.

        Its own start and shutdown take place within those of the clients and of the background work.
        """
        return Instrumented(app, self)

    def app(self, routes: Sequence[BaseRoute]) -> ASGIApp:
        """An application of these routes, instrumented, whose errors are JSON."""
        from starlette.applications import Starlette

        from telemetry import web

        if self._faults:
            from telemetry.faults.routes import around

            routes = around(routes)
        return self.instrument(Starlette(routes=list(routes), exception_handlers=web.EXCEPTION_HANDLERS))

    async def measure(self) -> None:
        """Bring gauges up to date: health and what was given to ``before_scrape``; bounded, never raises."""
        await self._measures.run(2 * TIMEOUT_SECONDS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What lasts from start to shutdown: clients and background work; at the end the last spans are sent."""
        try:
            async with AsyncExitStack() as stack:
                for resource in self._resources:
                    await stack.enter_async_context(resource)
                yield
        finally:
            await asyncio.to_thread(self.tracing.shutdown)


def instrument(app: ASGIApp, settings: Settings | None = None) -> Instrumented:
    """``app`` observed; without ``settings`` those of the environment, of which OTEL_SERVICE_NAME alone is needed."""
    return Telemetry(settings or Settings.load()).instrument(app)


def run(build: Callable[[Telemetry], ASGIApp]) -> None:
    """Settings, ``build``, serve until SIGTERM. Exits with 2 for wrong settings."""
    try:
        telemetry = Telemetry(Settings.load())
        app = build(telemetry)
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        sys.exit(2)
    from telemetry.server import serve

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logs.get_logger("telemetry").info("starting", port=telemetry.settings.port, version=telemetry.settings.version)
    serve(app, telemetry.settings.port, telemetry.stopping)


def run_worker(work: Callable[[Telemetry], Awaitable[None]]) -> None:
    """A process without routes of its own: ``work`` runs until SIGTERM, beside /health and /metrics on PORT."""

    def build(telemetry: Telemetry) -> ASGIApp:
        telemetry.background(lambda: work(telemetry))
        return telemetry.instrument(_nothing)

    run(build)


async def _nothing(scope: Any, _receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answers.send_answer(send, 404, b"not found", answers.TEXT)
