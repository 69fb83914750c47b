"""The client of Redis, as far as it does more than the one it is made of."""

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import ResponseError

from telemetry import Telemetry, Unwritable
from telemetry.breaker import FAILURES_TO_OPEN
from telemetry.redis_store import RedisStore
from tests.unit.services.helpers import REFUSALS, MakeTelemetry, RefusingRedis


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


@pytest.fixture(params=REFUSALS)
def refusing(request: pytest.FixtureRequest, make_telemetry: MakeTelemetry) -> tuple[Telemetry, RedisStore]:
    """A store whose Redis refuses writes."""
    telemetry = make_telemetry()
    store = RedisStore("redis://127.0.0.1:1/0", None, telemetry.tracing, telemetry.breakers)
    store._redis = RefusingRedis(request.param)
    return telemetry, store


def test_a_redis_that_refuses_writes_is_a_failure_for_those_who_write_and_for_no_others(
    refusing: tuple[Telemetry, RedisStore],
) -> None:
    _, store = refusing

    async def run() -> None:
        for _ in range(FAILURES_TO_OPEN + 1):
            with pytest.raises(Unwritable) as caught:
                await store.call("SET", "key", "value")
            assert caught.value.status == 503
        assert await store.call("GET", "key") == "answer"

    asyncio.run(run())


def test_a_cache_that_cannot_be_written_is_no_failure_of_the_request(refusing: tuple[Telemetry, RedisStore]) -> None:
    telemetry, store = refusing
    assert asyncio.run(telemetry.cache(store, "answers", 60).set("key", "value")) == "error"
    labels = {"operation": "set", "result": "error"}
    assert telemetry.metrics.registry.get_sample_value("cache_operations_total", labels) == 1


def test_what_redis_refuses_for_another_reason_is_the_mistake_of_who_asked(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()

    async def run() -> None:
        store = RedisStore("redis://127.0.0.1:1/0", None, telemetry.tracing, telemetry.breakers)
        store._redis = RefusingRedis("WRONGTYPE Operation against a key holding the wrong kind of value")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await store.call("SET", "key", "value")

    asyncio.run(run())
