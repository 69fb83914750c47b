"""Redis with a client span and a circuit breaker around each command."""

import asyncio
from types import TracebackType
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from telemetry import faults
from telemetry.breaker import Breakers
from telemetry.errors import TimedOut, Unreachable, Unwritable
from telemetry.tracing import Tracing

NAME = "redis"
SOCKET_TIMEOUT_SECONDS = 2.0
CONNECT_TIMEOUT_SECONDS = 1.0
POOL_SIZE = 20
# What a socket may take in a health check: less than the second of the check itself.
PING_TIMEOUT_SECONDS = 0.8


class RedisStore:
    """Commands by name: ``await store.call("SET", key, value, "EX", 60)``. Answers are text, not bytes."""

    def __init__(self, url: str, password: str | None, tracing: Tracing, breakers: Breakers) -> None:
        # No retries: it would run INCR or LPUSH twice where only the answer was lost. A pooled connection that a
        # restart of Redis has left dead is seen when it is taken from the pool, and made anew.
        # That look is left out where notifications of Redis Enterprise are taken, as by default.
        shared: dict[str, Any] = {
            "password": password,
            "decode_responses": True,
            "retry": Retry(NoBackoff(), 0),
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        self._redis: Any = redis.Redis(
            connection_pool=redis.BlockingConnectionPool.from_url(
                url,
                max_connections=POOL_SIZE,
                timeout=SOCKET_TIMEOUT_SECONDS,
                socket_timeout=SOCKET_TIMEOUT_SECONDS,
                socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
                **shared,
            )
        )
        # Of its own: commands that hang hold all connections of the pool, and a check must not wait for one.
        self._pinging: Any = redis.Redis.from_url(
            url,
            single_connection_client=True,
            socket_timeout=PING_TIMEOUT_SECONDS,
            socket_connect_timeout=PING_TIMEOUT_SECONDS,
            **shared,
        )
        self._tracing = tracing
        self._breakers = breakers

    async def call(self, command: str, *arguments: str | int | float) -> Any:
        """Run a command. Raises DependencyError (Unreachable, TimedOut, CircuitOpen, Unwritable)."""
        attributes = {"db.system.name": NAME, "db.operation.name": command, "peer.service": NAME}
        with self._tracing.client_span(f"redis {command}", attributes), self._breakers.guard(NAME):
            return await self.call_quietly(command, *arguments)

    async def call_quietly(self, command: str, *arguments: str | int | float) -> Any:
        """Like ``call``, without span and breaker: for health checks and for waiting on a queue."""
        faults.reach(NAME)
        return await _execute(self._redis, command, *arguments)

    async def ping(self) -> None:
        """Raises where Redis does not answer; on a connection of its own."""
        await _execute(self._pinging, "PING")

    async def __aenter__(self) -> "RedisStore":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in (self._redis, self._pinging):
            await client.aclose()
            await client.connection_pool.disconnect()


async def _execute(client: Any, command: str, *arguments: str | int | float) -> Any:
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    try:
        answer = await client.execute_command(command, *arguments)
    except RedisTimeoutError as error:
        raise TimedOut(NAME, str(error)) from error
    except (RedisConnectionError, OSError) as error:
        raise Unreachable(NAME, str(error)) from error
    except ResponseError as error:
        if not _refuses_writes(error):
            raise
        raise Unwritable(NAME, str(error)) from error
    if task and task.cancelling() > cancelled:
        # Before Python 3.12 the wait_for inside the client could swallow a cancellation, and its task ran on.
        raise asyncio.CancelledError
    return answer


def _refuses_writes(error: ResponseError) -> bool:
    """Whether it is full, a replica, or could not save; the client has no class of its own for the last (MISCONF)."""
    return isinstance(error, OutOfMemoryError | ReadOnlyError) or str(error).startswith("MISCONF ")
