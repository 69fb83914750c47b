"""The client of Redis, as far as it does more than the one it is made of."""

import asyncio
from contextlib import suppress

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
