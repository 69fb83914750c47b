"""Clients that try one thing after the other: many answers of 401 or 404 in a minute are an enumeration."""

import time
import uuid

from telemetry import DependencyError, get_logger
from telemetry.redis_store import RedisStore

WINDOW_SECONDS = 60
THRESHOLD = 15
"""Different misses of one client in a minute. A page with a broken link asks for the same again, which counts once."""
# In Redis, so that two requests at once cannot both or neither be the one that reaches the threshold. What comes
# after it is not kept.
_ADD = """
local count = redis.call('SCARD', KEYS[1])
if count >= tonumber(ARGV[2]) or redis.call('SADD', KEYS[1], ARGV[1]) == 0 then return 0 end
if count == 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return count + 1
"""
log = get_logger("api_gateway.misses")


class Misses:
    """Counts misses by client in Redis; knows nothing while Redis is away."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def enumerating(self, client: str, path: str, status: int) -> bool:
        """Whether this miss is the one that makes the client suspicious: true once a minute."""
        key = f"misses:{client}:{int(time.time()) // WINDOW_SECONDS}"
        # Each wrong password or token is a try of its own, though the path is the same.
        miss = path[:500] if status == 404 else uuid.uuid4().hex
        try:
            # Without a span: the request that it would belong to is answered already.
            count = await self._store.call_quietly("EVAL", _ADD, 1, key, miss, THRESHOLD, WINDOW_SECONDS)
        except DependencyError as error:
            log.warning("misses are not counted", error=str(error))
            return False
        return int(count) == THRESHOLD
