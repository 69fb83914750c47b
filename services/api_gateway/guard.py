"""The guard of the gateway: rate limits by client, and the count of what looks like an attack."""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway.limits import CLASSES, Allowance, Limiter, client_class
from api_gateway.misses import Misses
from api_gateway.suspicion import REASONS, suspicion
from telemetry import Telemetry, get_logger, ids, web
from telemetry.forwarded import Proxies
from telemetry.redis_store import RedisStore

Handler = Callable[[Request], Awaitable[Response]]
log = get_logger("api_gateway.guard")
_IDS = re.compile(rb"x-(?:request|correlation)-id")


class Guard:
    """Refuses what is over the limit of its client. What is suspicious is counted and logged, and not refused."""

    def __init__(self, telemetry: Telemetry, store: RedisStore) -> None:
        self._proxies = Proxies(telemetry.settings)
        telemetry.background(self._proxies.keep_fresh)
        self._limiter = Limiter(store, telemetry.settings)
        self._misses = Misses(store)
        self._limited = telemetry.metrics.counter(
            "rate_limited_requests_total", "Requests refused by the rate limit.", ["client_class"]
        )
        self._suspicious = telemetry.metrics.counter(
            "suspicious_requests_total", "Requests that look like an attack.", ["reason"]
        )
        for name in CLASSES:
            self._limited.labels(name)
        for reason in REASONS:
            self._suspicious.labels(reason)

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Look at every request, also at those that no route matches."""

        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            answer = _Answer(send)
            await app(scope, receive, answer.send)
            await self._look(scope, answer)

        return watching

    def around(self, handler: Handler) -> Handler:
        """``handler`` behind the rate limit, which its answers tell about."""

        async def limited(request: Request) -> Response:
            kind = client_class(request)
            allowance = await self._limiter.spend(kind, self._proxies.client(request.scope))
            if allowance is None:
                return await handler(request)
            if allowance.exceeded:
                self._limited.labels(kind).inc()
                log.warning("rate limit exceeded", client_class=kind, limit=allowance.limit)
                return web.failure(429, "rate_limited", "too many requests", allowance.headers())
            response = await handler(request)
            return _with(response, allowance)

        return limited

    async def _look(self, scope: Scope, answer: "_Answer") -> None:
        """After the answer, so that nobody waits for it, and with the ids that the answer carries."""
        agent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"user-agent"), "")
        reason = suspicion(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), agent)
        if answer.status == 413:
            reason = "oversized_body"
        client = self._proxies.client(scope)
        if reason is not None:
            self._report(reason, scope, answer, client)
        if answer.status in (401, 404) and await self._misses.enumerating(client, scope["path"], answer.status):
            self._report("enumeration", scope, answer, client)

    def _report(self, reason: str, scope: Scope, answer: "_Answer", client: str) -> None:
        self._suspicious.labels(reason).inc()
        with ids.bound(ids.accept(answer.ids.get("x-request-id"), answer.ids.get("x-correlation-id"))):
            log.warning(
                "suspicious request",
                reason=reason,
                client=client,
                method=scope["method"][:20],
                path=scope["path"][:200],
                status=answer.status,
            )


class _Answer:
    """Remembers status and ids of an answer that passes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.ids: dict[str, str] = {}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.ids = {n.decode(): v.decode("latin-1") for n, v in message.get("headers", ()) if _IDS.fullmatch(n)}
        await self._send(message)


def _with(response: Response, allowance: Allowance) -> Response:
    for name, value in allowance.headers().items():
        response.headers.setdefault(name, value)
    return response
