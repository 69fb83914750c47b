"""The queue on Redis Streams, with one consumer group; every step that must not be halved is a script.

    jobs:{queue}   stream: what waits or is in hand; an entry is deleted with the end of its job
    job:{id}       hash: state, result; kept for KEPT_SECONDS after the end of the job
    jobs:results   stream: the job:{id} whose results make room for new jobs where that is needed, oldest first; with
                   the bytes of all results up to it
    dead:{queue}   stream: the last DEAD_KEPT jobs that were given up
    jobs:done      hash: how many jobs ended, by "kind state"; digests tell of it
    digest:{channel}  what jobs:done was when the channel was last told

What was accepted outlives Redis: it answers only after the append-only file is on disk (``appendfsync always``).
Scripts that end a job begin with what makes room: Redis lets such a script write although it is full.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from redis.exceptions import ResponseError

from automation_services.jobs import FINAL, Delivery, Job, QueueFull, dumps
from telemetry import get_logger
from telemetry.redis_store import RedisStore

GROUP = "workers"
DONE = "jobs:done"
RESULTS = "jobs:results"
KEPT_SECONDS = 3600
DEAD_KEPT = 20
MAX_WAITING = 1000
"""Of one queue."""
MAX_SHARE = 0.75
"""Of the memory that Redis may use (``maxmemory``), whatever takes it: beyond, a new job takes the place of the oldest
results, and is not accepted where all of them would not make room enough, so that what else is in Redis has room."""
ORDERS = "orders"
"""The queue that is not held up by MAX_SHARE, and keeps its results: they are short, and sagas ask for them again."""
BLOCK_MILLISECONDS = 1000
LET_GO_SECONDS = 8.0
"""A job whose worker has said nothing for so long is delivered to another."""
Dropped = Callable[[int], None]
log = get_logger("automation_services.streams")

_PUT = """
if redis.call('EXISTS', KEYS[1]) == 1 then return {'known', 0} end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then return {'full', 0} end
local function excess()
  local memory = redis.call('INFO', 'memory')
  local most = tonumber(string.match(memory, 'maxmemory:(%d+)'))
  return most > 0 and tonumber(string.match(memory, 'used_memory:(%d+)')) - most * ARGV[4] or 0
end
local function held()
  local first = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
  if not first then return 0 end
  local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
  return (last[2][4] or 0) - (first[2][4] or 0) + redis.call('HSTRLEN', first[2][2], 'result')
end
local dropped, over = 0, excess()
while over > 0 do
  if over > held() then return {'cramped', dropped} end
  for _, entry in ipairs(redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 20)) do
    dropped = dropped + redis.call('HDEL', entry[2][2], 'result')
    redis.call('XDEL', KEYS[3], entry[1])
  end
  over = excess()
end
redis.call('HSET', KEYS[1], 'state', 'queued', 'kind', ARGV[2])
redis.call('XADD', KEYS[2], '*', 'job', ARGV[1])
return {'accepted', dropped}
"""
# The oldest entry that was let go, with the number of its deliveries.
_CLAIM = """
local idle = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 1)
if #idle == 0 then return false end
local found = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], idle[1][1])
if #found == 0 then return false end
return {found[1][1], found[1][2][2], idle[1][4] + 1}
"""
_PREPARE = """
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
for _, entry in ipairs(mine) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry[1], 'IDLE', 3600000, 'JUSTID')
end
return #mine
"""
# "by" is the delivery whose end was stored: asked again because the answer was lost, it gets the same answer.
# Entries of jobs:results whose jobs are forgotten go before the next comes, each of them, which "~" would not do: one
# that stays would stand for a later job of the same id.
_FINISH = """
local state, by = redis.call('HGET', KEYS[1], 'state'), redis.call('HGET', KEYS[1], 'by')
redis.call('XACK', KEYS[2], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[2], ARGV[2])
if by == ARGV[5] then return state end
if by then return 'duplicate' end
local ended = ARGV[3]
if state == 'cancelled' then ended = state end
redis.call('HSET', KEYS[1], 'state', ended, 'by', ARGV[5])
if ended ~= 'cancelled' then
  redis.call('HSET', KEYS[1], 'result', ARGV[4])
  if KEYS[5] then
    local last, now = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1], redis.call('TIME')
    local sum = (last and last[2][4] or 0) + #ARGV[4]
    local kept = string.format('%d', (now[1] - ARGV[6]) * 1000 + math.floor(now[2] / 1000))
    redis.call('XADD', KEYS[5], 'MINID', '=', kept, '*', 'key', KEYS[1], 'sum', string.format('%d', sum))
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('HINCRBY', KEYS[4], ARGV[7] .. ' ' .. ended, 1)
if ended == 'dead' then redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[8], '*', 'job', ARGV[9], 'why', ARGV[4]) end
return ended
"""
_DISCARD = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'job', ARGV[4], 'why', ARGV[5])
return 1
"""
_CANCEL = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'result')
redis.call('HSET', KEYS[1], 'state', 'cancelled')
return 1
"""
# In hand is what some worker has spoken for lately; what was let go waits again.
_DEPTH = """
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])[1]
local idle = #redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[2], '-', '+', 1000)
return redis.call('XLEN', KEYS[1]) - pending + idle
"""


class Streams:
    """The queues of this service; ``consumer`` is the same in each life of a container.

    ``dropped`` is told how many results made room for a new job.
    """

    def __init__(
        self,
        store: RedisStore,
        dropped: Dropped,
        consumer: str | None = None,
        let_go_seconds: float = LET_GO_SECONDS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._store = store
        self._dropped = dropped
        self._consumer = consumer or socket.gethostname()
        self._let_go = round(let_go_seconds * 1000)
        self._max_waiting = max_waiting
        self._claimed_at: dict[str, float] = {}
        self._life = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"

    async def put(self, job: Job) -> bool:
        """Accept a job; False where one with its id was accepted before. Raises QueueFull, JobTooLong."""
        keys = f"job:{job.id}", _stream(job.queue), RESULTS
        share = 1 if job.queue == ORDERS else MAX_SHARE
        said, dropped = await self._script(_PUT, keys, job.stored(), job.kind, self._max_waiting, str(share))
        if dropped:
            self._dropped(dropped)
        if said == "full":
            raise QueueFull(f"{self._max_waiting} jobs wait in {job.queue}")
        if said == "cramped":
            raise QueueFull("there is no room for more jobs")
        return bool(said == "accepted")

    async def prepare(self, queue: str) -> None:
        """Make the stream and its group, and let go of what the last life of this consumer had in hand."""
        await self._make(queue)
        await self._quiet_script(_PREPARE, [_stream(queue)], GROUP, self._consumer)

    async def take(self, queue: str) -> Delivery | None:
        """A job that was let go, else the next; None where none came within BLOCK_MILLISECONDS."""
        try:
            return await self._take(queue)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # Someone has deleted the stream.
            await self._make(queue)
            return None

    async def _take(self, queue: str) -> Delivery | None:
        now = time.monotonic()
        if now - self._claimed_at.get(queue, 0.0) >= BLOCK_MILLISECONDS / 1000:
            self._claimed_at[queue] = now
            found = await self._quiet_script(_CLAIM, [_stream(queue)], GROUP, self._consumer, self._let_go)
            if found:
                # There may be more: the next look is not put off.
                self._claimed_at.pop(queue)
                return await self._delivery(queue, found[0], found[1], int(found[2]))
        arguments = "GROUP", GROUP, self._consumer, "COUNT", 1, "BLOCK", BLOCK_MILLISECONDS, "STREAMS", _stream(queue)
        streams = await self._store.call_quietly("XREADGROUP", *arguments, ">")
        if not streams:
            return None
        (_, ((entry, fields),)), *_ = streams
        return await self._delivery(queue, entry, fields.get("job", ""), 1)

    async def finish(self, delivery: Delivery, state: str, result: Any) -> str:
        """Store the end of a job; the state that counts, or "duplicate" where another delivery ended it."""
        job = delivery.job
        keys = [f"job:{job.id}", _stream(job.queue), f"dead:{job.queue}", DONE]
        if job.queue != ORDERS:
            keys.append(RESULTS)
        return str(
            await self._script(
                _FINISH,
                keys,
                *(GROUP, delivery.entry, state, dumps(result), delivery.token, KEPT_SECONDS),
                *(job.kind, DEAD_KEPT, dumps(asdict(job))),
            )
        )

    async def beat(self, deliveries: list[Delivery]) -> None:
        """Say that these are still being worked on."""
        for delivery in deliveries:
            await self._claim(delivery, "JUSTID")

    async def hand_back(self, delivery: Delivery, at_once: bool = True) -> None:
        """Give a job back unfinished; this delivery does not count. The pause is that of a job that was let go."""
        idle = 3_600_000 if at_once else 0
        await self._claim(delivery, "IDLE", idle, "RETRYCOUNT", delivery.count - 1, "JUSTID")

    async def depth(self, queue: str) -> int:
        """Jobs that wait."""
        return int(await self._quiet_script(_DEPTH, [_stream(queue)], GROUP, self._let_go))

    async def state(self, job: str) -> dict[str, Any] | None:
        """State and result of a job; None where it is unknown, or ended more than KEPT_SECONDS ago.

        There is no ``result`` in it where that made room for new jobs.
        """
        state, result = await self._store.call("HMGET", f"job:{job}", "state", "result")
        if state is None:
            return None
        if result is None and state in FINAL - {"cancelled"}:
            return {"id": job, "state": state}
        return {"id": job, "state": state, "result": None if result is None else json.loads(result)}

    async def cancel(self, job: str) -> bool:
        """Cancel a job, or withdraw its result; False where it is unknown."""
        return bool(await self._script(_CANCEL, [f"job:{job}"]))

    async def done(self) -> dict[str, int]:
        """How many jobs ended since the beginning, by "kind state"."""
        found = await self._store.call("HGETALL", DONE)
        return {name: int(count) for name, count in found.items()}

    async def told(self, channel: str) -> dict[str, int]:
        """What ``done`` was when a channel was last told of it."""
        return dict(json.loads(await self._store.call("GET", f"digest:{channel}") or "{}"))

    async def tell(self, channel: str, done: dict[str, int]) -> None:
        """Remember what a channel was told."""
        await self._store.call("SET", f"digest:{channel}", json.dumps(done))

    async def _make(self, queue: str) -> None:
        try:
            await self._store.call_quietly("XGROUP", "CREATE", _stream(queue), GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _claim(self, delivery: Delivery, *options: str | int) -> None:
        stream = _stream(delivery.job.queue)
        await self._store.call_quietly("XCLAIM", stream, GROUP, self._consumer, 0, delivery.entry, *options)

    async def _script(self, script: str, keys: list[str] | tuple[str, ...], *arguments: str | int) -> Any:
        return await self._store.call("EVAL", script, len(keys), *keys, *arguments)

    async def _quiet_script(self, script: str, keys: list[str], *arguments: str | int) -> Any:
        return await self._store.call_quietly("EVAL", script, len(keys), *keys, *arguments)

    async def _delivery(self, queue: str, entry: str, job: str, count: int) -> Delivery | None:
        try:
            found = Job(**json.loads(job))
        except (ValueError, TypeError) as error:
            # Of another version, or not ours: it would come again for ever.
            log.error("entry of a queue is no job", queue=queue, entry=entry, error=str(error))
            keys, why = [_stream(queue), f"dead:{queue}"], json.dumps(f"no job: {error}")
            await self._quiet_script(_DISCARD, keys, GROUP, entry, DEAD_KEPT, job, why)
            return None
        return Delivery(found, entry, count, f"{self._life}-{uuid.uuid4().hex[:8]}")


def _stream(queue: str) -> str:
    return f"jobs:{queue}"
