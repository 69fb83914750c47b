"""Sagas in a real Redis: whose they are, and what becomes of them after the end of their orchestrator."""

import asyncio
import json
from dataclasses import asdict

import pytest

from saga_orchestrator import engine
from saga_orchestrator.engine import Sagas
from saga_orchestrator.saga import Saga, SagaTaken, SagaUnreadable
from saga_orchestrator.store import RedisSagas
from tests.unit.services.helpers import LogLines, MakeTelemetry
from tests.unit.services.memory_sagas import Shop, ended, until
from tests.unit.services.redis_server import RedisServer

pytestmark = pytest.mark.integration

SAGA = Saga("a", "order", {}, {}, 0)
UNREADABLE = {
    "broken": "{",
    "deep": "[" * 100_000,
    "null": "null",
    "other version": '{"id": "a", "of": "another version"}',
    "wrong type": json.dumps(asdict(SAGA) | {"headers": None}),
}


def test_a_saga_in_redis_is_that_of_one_orchestrator_until_its_lease_ends(
    make_telemetry: MakeTelemetry, redis_server: RedisServer
) -> None:
    telemetry = make_telemetry(REDIS_URL=redis_server.url)

    async def go() -> None:
        async with telemetry.redis() as redis:
            one, two = RedisSagas(redis, 0.3), RedisSagas(redis, 0.3)
            saga = Saga("a" * 32, "order", {"item": "book"}, {}, 1.0)
            await one.begin(saga)
            assert await two.claim() is None
            for _ in range(4):
                await asyncio.sleep(0.1)
                await one.renew([saga.id])
                assert await two.claim() is None
            await asyncio.sleep(0.4)
            saga.outputs["record"] = "rec1"
            await one.save(saga)
            assert await two.claim() is None
            await one.release(saga.id)
            assert await two.claim() == saga
            with pytest.raises(SagaTaken):
                await one.save(saga)
            saga.outcome = "completed"
            assert await two.open() == 1
            await two.save(saga)
            assert await two.open() == 0
            assert await one.load(saga.id) == saga
            assert await one.load("unknown") is None
            assert await one.may_refund(saga.id, "first")
            assert not await one.may_refund(saga.id, "second")
            assert await two.may_refund(saga.id, "first")

    asyncio.run(go())


def test_a_saga_that_cannot_be_read_is_set_aside_and_told_once(
    make_telemetry: MakeTelemetry, redis_server: RedisServer, log_lines: LogLines
) -> None:
    telemetry = make_telemetry(REDIS_URL=redis_server.url)

    async def go() -> None:
        async with telemetry.redis() as redis:
            store = RedisSagas(redis, 0.01)
            Sagas(telemetry, store, Shop().kinds())
            for saga, data in UNREADABLE.items():
                await redis.call("HSET", f"saga:{saga}", "data", data)
                await redis.call("ZADD", "sagas:open", 0, saga)
            for _ in range(3 * len(UNREADABLE)):
                assert await store.claim() is None
                await asyncio.sleep(0.01)
            for saga in UNREADABLE:
                with pytest.raises(SagaUnreadable):
                    await store.load(saga)
            await telemetry.measure()
            assert await redis.call("HGET", "saga:broken", "data") == "{"
            # An operator has mended it.
            await redis.call("HSET", "saga:broken", "data", json.dumps(asdict(SAGA)))
            await redis.call("ZADD", "sagas:open", 0, "broken")
            assert await store.claim() == SAGA

    asyncio.run(go())
    told = [(line["level"], line["id"]) for line in log_lines()]
    assert sorted(told) == sorted(("error", saga) for saga in UNREADABLE)
    value = telemetry.metrics.registry.get_sample_value
    assert (value("saga_in_flight"), value("saga_dead")) == (0, len(UNREADABLE))


def test_a_saga_outlives_its_orchestrator_and_redis(
    make_telemetry: MakeTelemetry, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOOK_SECONDS", 0.01)
    telemetry = make_telemetry(REDIS_URL=redis_server.url)
    shop = Shop()

    async def go() -> None:
        async with telemetry.redis() as redis:
            shop.hanging.add("payment")
            killed = Sagas(telemetry, RedisSagas(redis, 0.3), shop.kinds())
            # Killed: it neither releases the saga nor renews its lease.
            task = asyncio.create_task(killed.run("order", {"item": "book"}))
            await until(lambda: "payment" in shop.calls)
            redis_server.kill()
            await asyncio.to_thread(redis_server.start)
            shop.hanging.clear()
            store = RedisSagas(redis, 0.3)
            await ended(Sagas(make_telemetry(), store, shop.kinds()), store)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())
    assert shop.calls == ["record", "payment", "again payment", "fulfilment"]
