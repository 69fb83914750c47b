"""Sessions in Redis: only the hash of a token is stored, so that a copy of Redis opens nothing."""

import hashlib
import secrets
import time

from telemetry import Telemetry
from telemetry.redis_store import RedisStore

LIFETIME_SECONDS = 1800
_ACTIVE = "sessions"


class Sessions:
    """Makes, finds and ends sessions; ``active_sessions`` is counted from Redis before each scrape."""

    def __init__(self, telemetry: Telemetry, store: RedisStore) -> None:
        self._store = store
        self._active = telemetry.metrics.gauge("active_sessions", "Sessions that have not ended.")
        telemetry.before_scrape(self._measure)

    async def start(self, user: str) -> str:
        """A new token for ``user``."""
        token = secrets.token_urlsafe(32)
        key = _key(token)
        await self._store.call("SET", key, user, "EX", LIFETIME_SECONDS)
        await self._store.call("ZADD", _ACTIVE, time.time() + LIFETIME_SECONDS, key)
        return token

    async def find(self, token: str) -> str | None:
        """The user of a token; None where it is unknown or has ended."""
        user: str | None = await self._store.call("GET", _key(token))
        return user

    async def end(self, token: str) -> None:
        """End a session, whether it exists or not."""
        await self._store.call("DEL", _key(token))
        await self._store.call("ZREM", _ACTIVE, _key(token))

    async def _measure(self) -> None:
        await self._store.call_quietly("ZREMRANGEBYSCORE", _ACTIVE, "-inf", time.time())
        self._active.set(await self._store.call_quietly("ZCARD", _ACTIVE))


def _key(token: str) -> str:
    return "session:" + hashlib.sha256(token.encode()).hexdigest()
