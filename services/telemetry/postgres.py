"""PostgreSQL with a client span, a duration and a circuit breaker around each named query."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import asyncpg

from telemetry.breaker import Breakers
from telemetry.errors import TimedOut, Unreachable
from telemetry.logs import get_logger
from telemetry.metrics import Metrics
from telemetry.tracing import Tracing

NAME = "postgres"
POOL_SIZE = 5
RETRY_SECONDS = 1.0
QUERY_TIMEOUT_SECONDS = 5.0
GRACE_SECONDS = 0.5
ACQUIRE_TIMEOUT_SECONDS = 2.0
# What it may take to make a connection usable for the next query.
RESET_TIMEOUT_SECONDS = 1.0

log = get_logger("telemetry.postgres")


class Postgres:
    """A pool that connects in the background, so that the process serves before the database is there.

    ``schema`` is run at the first connection, where there is one, and must be repeatable. Queries raise
    DependencyError where the database is away, asyncpg.PostgresError where it refuses the query.
    """

    def __init__(
        self,
        dsn: str,
        password: str | None,
        schema: str,
        metrics: Metrics,
        tracing: Tracing,
        breakers: Breakers,
    ) -> None:
        self._dsn = dsn
        self._password = password
        self._schema = schema
        self._service = metrics.service
        self._tracing = tracing
        self._breakers = breakers
        self._pool: Any = None
        self._pinging: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._seconds = metrics.histogram("db_query_duration_seconds", "Duration of named queries.", ["query"])
        self._connections = metrics.gauge("db_pool_connections", "Connections of the database pool.", ["state"])

    async def fetch(self, name: str, sql: str, *arguments: object) -> list[Any]:
        """All rows of the query called ``name``."""
        rows: list[Any] = await self._run(name, lambda c: c.fetch(sql, *arguments))
        return rows

    async def fetchrow(self, name: str, sql: str, *arguments: object) -> Any | None:
        """First row of the query called ``name``, None where there is none."""
        return await self._run(name, lambda c: c.fetchrow(sql, *arguments))

    async def transaction(self, name: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """``work(connection)`` in one transaction called ``name``; rolled back where it raises."""

        async def whole(connection: Any) -> Any:
            async with connection.transaction():
                return await work(connection)

        return await self._run(name, whole)

    async def ready(self) -> None:
        """Wait for the first connection, for which the schema was made."""
        if self._connecting is None:
            raise Unreachable(NAME, "not connected yet")
        await asyncio.shield(self._connecting)

    async def ping(self) -> None:
        """Raises where the database does not answer SELECT 1; on a connection of its own.

        Queries that hang hold all connections of the pool, and a check must not wait for one.
        """
        if self._pool is None:
            raise Unreachable(NAME, "not connected yet")
        connection, self._pinging = self._pinging, None
        if connection is None or connection.is_closed():
            connection = await asyncpg.connect(self._dsn, **self._options(1.0))
        try:
            await connection.fetchval("SELECT 1")
        except BaseException:
            connection.terminate()
            raise
        self._pinging = connection

    async def measure(self) -> None:
        """Set the gauges of the pool; called before a scrape."""
        idle = self._pool.get_idle_size() if self._pool is not None else 0
        size = self._pool.get_size() if self._pool is not None else 0
        self._connections.labels("idle").set(idle)
        self._connections.labels("used").set(size - idle)

    async def __aenter__(self) -> "Postgres":
        self._connecting = asyncio.create_task(self._connect())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in (self._pool, self._pinging):
            if connection is not None:
                connection.terminate()

    async def _connect(self) -> None:
        while True:
            try:
                self._pool = await self._made_pool()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("database is not ready", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                log.info("database is ready")
                return

    async def _made_pool(self) -> Any:
        """A pool of a database that has the schema."""
        pool = await asyncpg.create_pool(
            self._dsn, min_size=1, max_size=POOL_SIZE, **self._options(QUERY_TIMEOUT_SECONDS)
        )
        try:
            if self._schema:
                await pool.execute(self._schema)
        except BaseException:
            # Its connection would stay, one more for each try.
            pool.terminate()
            raise
        return pool

    def _options(self, seconds: float) -> dict[str, Any]:
        return {
            "password": self._password,
            "timeout": min(seconds, ACQUIRE_TIMEOUT_SECONDS),
            "command_timeout": seconds,
            "server_settings": {"application_name": self._service},
        }

    async def _run(self, name: str, query: Callable[[Any], Awaitable[Any]]) -> Any:
        attributes = {"db.system.name": "postgresql", "db.operation.name": name, "peer.service": NAME}
        with self._tracing.client_span(f"postgres {name}", attributes):
            start = time.perf_counter()
            try:
                with self._breakers.guard(NAME):
                    return await self._ask(query)
            finally:
                self._seconds.labels(name).observe(time.perf_counter() - start)

    async def _ask(self, query: Callable[[Any], Awaitable[Any]]) -> Any:
        if self._pool is None:
            raise Unreachable(NAME, "not connected yet")
        try:
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
            # What comes after a query that timed out, a rollback, would wait as long once more.
            end = asyncio.get_running_loop().call_later(QUERY_TIMEOUT_SECONDS + GRACE_SECONDS, _terminate, connection)
            try:
                return await query(connection)
            except (TimeoutError, asyncio.CancelledError):
                # To give it back would wait until the server has confirmed that it cancelled the query, and a server
                # that hangs never does.
                _terminate(connection)
                raise
            finally:
                end.cancel()
                await self._release(connection)
        except TimeoutError as error:
            raise TimedOut(NAME, "no answer in time") from error
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
            raise Unreachable(NAME, f"{type(error).__name__}: {error}") from error
        except asyncpg.InterfaceError as error:
            raise Unreachable(NAME, str(error)) from error

    async def _release(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=RESET_TIMEOUT_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # The query has its result; a connection that cannot be reset is closed by the pool.
            log.info("a database connection could not be used again", error=f"{type(error).__name__}: {error}")


def _terminate(connection: Any) -> None:
    # The driver may have ended it, and taken it back, by itself.
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()
