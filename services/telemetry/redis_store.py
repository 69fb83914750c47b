"""Redis with a client span and a circuit breaker around each command."""

from types import TracebackType
from typing import Any

import redis.asyncio as redis
from opentelemetry.trace import SpanKind
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from telemetry import tracing
from telemetry.breaker import Breakers
from telemetry.errors import DependencyError, TimedOut, Unreachable
from telemetry.tracing import Tracing

NAME = "redis"
SOCKET_TIMEOUT_SECONDS = 2.0
POOL_SIZE = 20


class RedisStore:
    """Commands by name: ``await store.call("SET", key, value, "EX", 60)``. Answers are text, not bytes."""

    def __init__(self, url: str, password: str | None, tracing: Tracing, breakers: Breakers) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            password=password,
            max_connections=POOL_SIZE,
            timeout=SOCKET_TIMEOUT_SECONDS,
            decode_responses=True,
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=1.0,
            # One more try mends a pooled connection that a restart of Redis has left dead.
            retry=Retry(NoBackoff(), 1),
        )
        self._redis: Any = redis.Redis(connection_pool=pool)
        self._tracing = tracing
        self._breakers = breakers

    async def call(self, command: str, *arguments: str | int | float) -> Any:
        """Run a command. Raises DependencyError (Unreachable, TimedOut, CircuitOpen)."""
        with self._tracing.tracer.start_as_current_span(
            f"redis {command}",
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": NAME, "db.operation.name": command, "peer.service": NAME},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                async with self._breakers.guard(NAME):
                    return await self.call_quietly(command, *arguments)
            except DependencyError as error:
                tracing.fail(span, error.code)
                raise

    async def call_quietly(self, command: str, *arguments: str | int | float) -> Any:
        """Like ``call``, without span and breaker: for health checks and for waiting on a queue."""
        try:
            return await self._redis.execute_command(command, *arguments)
        except RedisTimeoutError as error:
            raise TimedOut(NAME, str(error)) from error
        except (RedisConnectionError, OSError) as error:
            raise Unreachable(NAME, str(error)) from error

    async def ping(self) -> None:
        """Raises where Redis does not answer."""
        await self.call_quietly("PING")

    async def __aenter__(self) -> "RedisStore":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()
