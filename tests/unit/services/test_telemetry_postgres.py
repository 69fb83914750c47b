"""The client of PostgreSQL, as far as it does more than the one it is made of."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from telemetry import postgres
from telemetry.postgres import Postgres
from tests.unit.services.helpers import MakeTelemetry


class Pool:
    """A pool whose database refuses the schema with ``error``, takes it, or hangs where it is told nothing."""

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = errors
        self.asked = asyncio.Event()
        self.terminated = 0

    async def execute(self, _sql: str) -> None:
        self.asked.set()
        if not self._errors:
            await asyncio.Event().wait()
        if self._errors[0] is not None:
            raise self._errors[0]

    def terminate(self) -> None:
        self.terminated += 1


@pytest.fixture
def connecting(make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Postgres]:
    """Makes a client that is given these pools, in turn."""

    def make(*pools: Pool) -> Postgres:
        left = iter(pools)

        async def create_pool(*_arguments: object, **_options: object) -> Pool:
            return next(left)

        monkeypatch.setattr(asyncpg, "create_pool", create_pool)
        monkeypatch.setattr(postgres, "RETRY_SECONDS", 0)
        telemetry = make_telemetry()
        return Postgres(
            "postgresql://127.0.0.1:1", None, "CREATE TABLE", telemetry.metrics, telemetry.tracing, telemetry.breakers
        )

    return make


@pytest.mark.parametrize(
    "error", [asyncpg.InsufficientPrivilegeError("denied"), TimeoutError(), ConnectionResetError()]
)
def test_each_pool_whose_schema_is_not_made_is_closed_before_the_next_try(
    connecting: Callable[..., Postgres], error: Exception
) -> None:
    async def run() -> list[int]:
        pools = Pool(error), Pool(error), Pool(None)
        async with connecting(*pools) as database:
            await database.ready()
            return [pool.terminated for pool in pools]

    assert asyncio.run(run()) == [1, 1, 0]


def test_a_pool_whose_schema_hangs_is_closed_with_the_client(connecting: Callable[..., Postgres]) -> None:
    async def run() -> int:
        pool = Pool()
        async with connecting(pool) as database:
            await pool.asked.wait()
        with pytest.raises(asyncio.CancelledError):
            await database.ready()
        return pool.terminated

    assert asyncio.run(run()) == 1
