"""Guessing a password is slowed down per account, whoever guesses and from wherever."""

import hashlib

from telemetry.redis_store import RedisStore

LIMIT = 5
WINDOW_SECONDS = 300
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('TTL', KEYS[1])}
"""


class Throttle:
    """LIMIT attempts in WINDOW_SECONDS without a right one between them; then none until the window ends.

    Attempts are counted before the password is looked at, so that many at once get no more than LIMIT of them. The
    account is known by a hash of its address: what is guessed at need not exist, and Redis holds no address.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def attempt(self, email: str) -> tuple[int, int]:
        """Count an attempt: how many there were beyond LIMIT (0 where this one may go on), and seconds to wait."""
        count, seconds = await self._store.call("EVAL", _COUNT, 1, _key(email), WINDOW_SECONDS)
        return max(0, int(count) - LIMIT), max(1, int(seconds))

    async def clear(self, email: str) -> None:
        """The password was right: count anew."""
        await self._store.call("DEL", _key(email))


def _key(email: str) -> str:
    return "login:" + hashlib.sha256(email.encode()).hexdigest()
