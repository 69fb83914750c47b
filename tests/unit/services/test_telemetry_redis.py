"""The client of Redis, as far as it does more than the one it is made of."""

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import OutOfMemoryError

from telemetry import Full
from telemetry.breaker import FAILURES_TO_OPEN
from telemetry.redis_store import RedisStore
from tests.unit.services.helpers import MakeTelemetry


class Swallowing:
    """A client that answers although it was cancelled, as asyncio.wait_for did before Python 3.12."""

    async def execute_command(self, *_arguments: object) -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return "answer"


def test_a_cancellation_that_the_client_swallows_still_ends_its_task(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()

    async def run() -> bool:
        store = RedisStore("redis://127.0.0.1:1/0", None, telemetry.tracing, telemetry.breakers)
        store._redis = Swallowing()
        task = asyncio.create_task(store.call("GET", "key"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run())


class Crammed:
    """A client of a Redis that has no room: it refuses writes, and answers the rest."""

    async def execute_command(self, command: str, *_arguments: object) -> str:
        if command == "SET":
            raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        return "answer"


def test_a_redis_without_room_is_a_failure_for_those_who_write_and_for_no_others(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()

    async def run() -> None:
        store = RedisStore("redis://127.0.0.1:1/0", None, telemetry.tracing, telemetry.breakers)
        store._redis = Crammed()
        for _ in range(FAILURES_TO_OPEN + 1):
            with pytest.raises(Full) as caught:
                await store.call("SET", "key", "value")
            assert caught.value.status == 503
        assert await store.call("GET", "key") == "answer"

    asyncio.run(run())
