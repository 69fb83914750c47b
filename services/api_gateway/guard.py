"""Rate limits by client in Redis, and what looks like an attack."""

import re
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry import DependencyError, Telemetry, get_logger, web
from telemetry.redis_store import RedisStore

WINDOW_SECONDS = 60
REASONS = ("path_traversal", "injection", "scanner", "oversized_body", "unknown_method")
_TRAVERSAL = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")
_INJECTION = re.compile(r"<script|\bunion\b.{1,20}\bselect\b|'\s*or\s+'?\d|\$\{jndi:|;\s*drop\s+table", re.IGNORECASE)
_SCANNER = re.compile(r"^/(?:\.env|\.git|wp-|phpmyadmin|cgi-bin|\.aws|actuator)", re.IGNORECASE)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Handler = Callable[[Request], Awaitable[Response]]
log = get_logger("api_gateway.guard")


class Guard:
    """Limits each client to ``limit`` requests a minute and counts suspicious requests.

    The limiter lets requests through while Redis is away: a limit is no reason to be down.
    """

    def __init__(self, telemetry: Telemetry, store: RedisStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._limited = telemetry.metrics.counter(
            "rate_limited_requests_total", "Requests refused by the rate limit.", ["client_class"]
        )
        self._suspicious = telemetry.metrics.counter(
            "suspicious_requests_total", "Requests that look like an attack.", ["reason"]
        )
        for client_class in ("anonymous", "session"):
            self._limited.labels(client_class)
        for reason in REASONS:
            self._suspicious.labels(reason)

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Look at every request, also at those that no route matches; none is refused here."""

        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                reason = suspicion(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
                if reason is not None:
                    self._suspicious.labels(reason).inc()
            await app(scope, receive, send)

        return watching

    def around(self, handler: Handler) -> Handler:
        """``handler`` behind the rate limit."""

        async def limited(request: Request) -> Response:
            client_class = "session" if "authorization" in request.headers else "anonymous"
            wait = await self._wait(client_class, _client(request))
            if wait > 0:
                self._limited.labels(client_class).inc()
                return web.failure(429, "rate_limited", "too many requests", {"retry-after": str(wait)})
            try:
                return await handler(request)
            except HTTPException as error:
                if error.status_code == 413:
                    self._suspicious.labels("oversized_body").inc()
                raise

        return limited

    async def _wait(self, client_class: str, client: str) -> int:
        """Seconds until the client may ask again; 0 where it may now."""
        now = int(time.time())
        key = f"rate:{client_class}:{client}:{now // WINDOW_SECONDS}"
        try:
            count = await self._store.call("INCR", key)
            if count == 1:
                await self._store.call("EXPIRE", key, WINDOW_SECONDS)
        except DependencyError as error:
            log.warning("rate limit is not enforced", error=str(error))
            return 0
        return WINDOW_SECONDS - now % WINDOW_SECONDS if count > self._limit else 0


def suspicion(method: str, path: str, query: str) -> str | None:
    """Why a request looks like an attack; None where it does not."""
    if method not in _METHODS:
        return "unknown_method"
    # Twice: an attacker encodes twice, and the server has decoded the path once already.
    text = unquote(unquote(f"{path}?{query}"))
    if _TRAVERSAL.search(unquote(path)):
        return "path_traversal"
    if _SCANNER.search(path):
        return "scanner"
    if _INJECTION.search(text):
        return "injection"
    return None


def _client(request: Request) -> str:
    """The client's address; the frontend, the only proxy before, puts the browser's into the header."""
    forwarded = request.headers.get("x-forwarded-for", "").split(",")[-1].strip()
    return forwarded[:64] or (request.client.host if request.client else "unknown")
