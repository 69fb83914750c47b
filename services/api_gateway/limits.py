"""How many requests a minute a client may make, by its class, counted in Redis."""

import time
from dataclasses import dataclass

from starlette.requests import Request

from telemetry import DependencyError, Settings, get_logger
from telemetry.redis_store import RedisStore

WINDOW_SECONDS = 60
CLASSES = {"anonymous": 1200, "session": 2400, "login": 20, "webhook": 600}
"""Class of client → requests a minute where RATE_LIMIT_<CLASS> does not say otherwise.

``login`` is whoever gives a password: few people try 20 times a minute, and each try costs a core 0.2 s.
"""
# One script: a key whose EXPIRE did not come after its INCR would never go away.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
"""
log = get_logger("api_gateway.limits")


def client_class(request: Request) -> str:
    """The class of client that makes a request."""
    path = request.url.path
    if path.startswith("/webhooks/"):
        return "webhook"
    if request.method == "POST" and path in ("/api/session", "/api/users"):
        return "login"
    return "session" if "authorization" in request.headers else "anonymous"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client has left in this minute; ``reset`` is in seconds."""

    limit: int
    count: int
    reset: int

    @property
    def exceeded(self) -> bool:
        """Whether this request was one too many."""
        return self.count > self.limit

    def headers(self) -> dict[str, str]:
        """X-RateLimit-…, and Retry-After where the limit is exceeded."""
        told = {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(max(self.limit - self.count, 0)),
            "x-ratelimit-reset": str(self.reset),
        }
        return told | ({"retry-after": str(self.reset)} if self.exceeded else {})


class Limiter:
    """Counts by class and client's address: a token can be invented, so it is no name of a client.

    The limiter lets requests through while Redis is away: a limit is no reason to be down.
    """

    def __init__(self, store: RedisStore, settings: Settings) -> None:
        self._store = store
        self._limits = {
            name: settings.whole_number(f"RATE_LIMIT_{name.upper()}", str(limit), minimum=1)
            for name, limit in CLASSES.items()
        }

    async def spend(self, kind: str, client: str) -> Allowance | None:
        """Count one request; None where it could not be counted."""
        now = int(time.time())
        key = f"rate:{kind}:{client}:{now // WINDOW_SECONDS}"
        try:
            count = int(await self._store.call("EVAL", _COUNT, 1, key, WINDOW_SECONDS))
        except DependencyError as error:
            log.warning("rate limit is not enforced", error=str(error))
            return None
        return Allowance(self._limits[kind], count, WINDOW_SECONDS - now % WINDOW_SECONDS)
