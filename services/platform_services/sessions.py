"""Sessions in Redis: only the hash of a token is stored, so that a copy of Redis opens nothing."""

import hashlib
import secrets
import time

from telemetry import Telemetry
from telemetry.redis_store import RedisStore

LIFETIME_SECONDS = 1800
_ACTIVE = "sessions"
# Each a script, so that a session, its place in the count and its place among the user's own go together.
_START = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], KEYS[1])
redis.call('EXPIRE', KEYS[3], ARGV[2])
"""
_END = """
redis.call('ZREM', KEYS[2], KEYS[1])
redis.call('ZREM', KEYS[3], KEYS[1])
return redis.call('DEL', KEYS[1])
"""
_END_ALL = """
local keys = redis.call('ZRANGE', KEYS[2], 0, -1)
local ended = 0
for _, key in ipairs(keys) do
  redis.call('ZREM', KEYS[1], key)
  ended = ended + redis.call('DEL', key)
end
redis.call('DEL', KEYS[2])
return ended
"""


class Sessions:
    """Makes, finds and ends sessions; ``active_sessions`` is counted from Redis before each scrape."""

    def __init__(self, telemetry: Telemetry, store: RedisStore) -> None:
        self._store = store
        self._active = telemetry.metrics.gauge("active_sessions", "Sessions that have not ended.")
        telemetry.before_scrape(self._measure)

    async def start(self, token: str, user: str) -> None:
        """Start the session of a new token for the user with an id."""
        now = int(time.time())
        await self._store.call(
            "EVAL", _START, 3, _key(token), _ACTIVE, _of(user), user, LIFETIME_SECONDS, now, now + LIFETIME_SECONDS
        )

    async def find(self, token: str) -> str | None:
        """The user's id of a token; None where it is unknown or has ended."""
        user: str | None = await self._store.call("GET", _key(token))
        return user

    async def end(self, token: str, user: str) -> None:
        """End a session, whether it exists or not."""
        await self._store.call("EVAL", _END, 3, _key(token), _ACTIVE, _of(user))

    async def end_all(self, user: str) -> int:
        """End all sessions of a user; returns how many there were."""
        return int(await self._store.call("EVAL", _END_ALL, 2, _ACTIVE, _of(user)))

    async def _measure(self) -> None:
        await self._store.call_quietly("ZREMRANGEBYSCORE", _ACTIVE, "-inf", time.time())
        self._active.set(await self._store.call_quietly("ZCARD", _ACTIVE))


def new_token() -> str:
    """A token that nobody can guess: 256 random bits."""
    return secrets.token_urlsafe(32)


def _key(token: str) -> str:
    return "session:" + hashlib.sha256(token.encode()).hexdigest()


def _of(user: str) -> str:
    return f"sessions:{user}"
