"""Sagas in Redis, which answers only when they are on disk. Who has a saga in hand is told by a lease.

saga:{id}         hash: data (JSON), owner; kept for KEPT_SECONDS after its end
sagas:open        sorted set of those without an outcome, by the end of the lease in Unix milliseconds
sagas:dead        sorted set of those that cannot be read, by when they were set aside in Unix milliseconds
refunded:{order}  the saga that may refund an order
"""

import json
import uuid
from dataclasses import asdict
from typing import Any

from saga_orchestrator.saga import Saga, SagaTaken, SagaUnreadable
from telemetry import get_logger
from telemetry.redis_store import RedisStore

LEASE_SECONDS = 6.0
KEPT_SECONDS = 6 * 3600
OPEN = "sagas:open"
DEAD = "sagas:dead"
log = get_logger("saga_orchestrator.store")

_NOW = "local now = redis.call('TIME'); now = now[1] * 1000 + math.floor(now[2] / 1000)\n"
_BEGIN = (
    _NOW
    + """
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'owner', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[4])
return 1
"""
)
_SAVE = (
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'data', ARGV[1])
if ARGV[5] == '0' then
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[4])
else
  redis.call('ZREM', KEYS[2], ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
return 1
"""
)
_RENEW = (
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
  redis.call('ZADD', KEYS[2], 'XX', now + ARGV[2], ARGV[3])
end
return 1
"""
)
_CLAIM = (
    _NOW
    + """
local free = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
if #free == 0 then return false end
local key = 'saga:' .. free[1]
local data = redis.call('HGET', key, 'data')
if not data then redis.call('ZREM', KEYS[1], free[1]) return false end
redis.call('HSET', key, 'owner', ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], free[1])
return {free[1], data}
"""
)
_SET_ASIDE = (
    _NOW
    + """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], now, ARGV[1])
return 1
"""
)
_REFUND = """
local saga = redis.call('GET', KEYS[1])
if saga and saga ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class RedisSagas:
    """The store of one orchestrator; each life of it is an owner of its own."""

    def __init__(self, store: RedisStore, lease_seconds: float = LEASE_SECONDS) -> None:
        self._store = store
        self._owner = uuid.uuid4().hex
        self._lease = round(lease_seconds * 1000)

    async def begin(self, saga: Saga) -> None:
        """Keep a new saga, in hand."""
        await self._eval(_BEGIN, [_key(saga.id), OPEN], _data(saga), self._owner, self._lease, saga.id)

    async def save(self, saga: Saga) -> None:
        """Keep what was done. Raises SagaTaken where another has it in hand."""
        kept = 0 if saga.outcome is None else KEPT_SECONDS
        arguments = _data(saga), self._owner, self._lease, saga.id, kept
        if not await self._eval(_SAVE, [_key(saga.id), OPEN], *arguments):
            raise SagaTaken(saga.id)

    async def renew(self, sagas: list[str]) -> None:
        """Keep these in hand."""
        for saga in sagas:
            await self._eval(_RENEW, [_key(saga), OPEN], self._owner, self._lease, saga)

    async def release(self, saga: str) -> None:
        """Let another go on at once."""
        await self._eval(_RENEW, [_key(saga), OPEN], self._owner, 0, saga)

    async def claim(self) -> Saga | None:
        """Take one in hand whose lease has ended."""
        found = await self._eval(_CLAIM, [OPEN], self._owner, self._lease)
        if found is None:
            return None
        saga, data = found
        try:
            return _read(data)
        except SagaUnreadable as error:
            await self._eval(_SET_ASIDE, [OPEN, DEAD], saga)
            log.error("saga cannot be read, and is set aside", id=saga, error=str(error))
            return None

    async def load(self, saga: str) -> Saga | None:
        """A saga, None where it is unknown or ended more than KEPT_SECONDS ago. Raises SagaUnreadable."""
        data = await self._store.call("HGET", _key(saga), "data")
        return None if data is None else _read(data)

    async def open(self) -> int:
        """How many sagas have no outcome yet, whoever has them in hand."""
        return int(await self._store.call_quietly("ZCARD", OPEN))

    async def dead(self) -> int:
        """How many sagas were set aside."""
        return int(await self._store.call_quietly("ZCARD", DEAD))

    async def may_refund(self, order: str, saga: str) -> bool:
        """Whether ``saga`` is the one that refunds ``order``: the first that asks is, and stays so."""
        return bool(await self._eval(_REFUND, [f"refunded:{order}"], saga, KEPT_SECONDS))

    async def _eval(self, script: str, keys: list[str], *arguments: str | int) -> Any:
        # A renewal or a claim in each second is no part of a trace.
        ask = self._store.call_quietly if script in (_RENEW, _CLAIM) else self._store.call
        return await ask("EVAL", script, len(keys), *keys, *arguments)


def _key(saga: str) -> str:
    return f"saga:{saga}"


def _data(saga: Saga) -> str:
    return json.dumps(asdict(saga))


def _read(data: str) -> Saga:
    """Raises SagaUnreadable."""
    try:
        saga = Saga(**json.loads(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise SagaUnreadable(str(error)) from error
    for field in ("input", "headers", "outputs"):
        if not isinstance(getattr(saga, field), dict):
            raise SagaUnreadable(f"{field} is no object")
    return saga
