"""Routes of the gateway.

How to make it fail on purpose: ``POST /api/chat`` with ``{"message": "…", "model": "unavailable"}`` is
answered 502 (the provider answers 500), model "throttled" 429; model "slow" takes 2.5 s. An order with an
amount over 1000 is declined (409, after compensation), one for the item "unshippable" by its last step.

Beside what every service needs: REDIS_URL, REDIS_PASSWORD_FILE, WEBHOOK_SECRET_FILE, UPSTREAM_… of the six
services behind it. May be set: TRUSTED_PROXIES (hosts whose X-Forwarded-For is believed), RATE_LIMIT_ANONYMOUS,
RATE_LIMIT_SESSION, RATE_LIMIT_LOGIN, RATE_LIMIT_WEBHOOK (requests of one client a minute; api_gateway.limits).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from api_gateway.guard import Guard
from api_gateway.webhooks import GithubWebhook
from telemetry import DependencyError, Telemetry, onward, web
from telemetry.errors import FAILED_HEADER

SERVICES = (
    "platform-services",
    "llm-orchestrator",
    "airtable-gateway",
    "automation-services",
    "saga-orchestrator",
    "mcp-server",
)
# Longer than what a provider may take for a chat.
TIMEOUT_SECONDS = 35.0
PASSED_ON = ("authorization", "content-type")
PASSED_BACK = ("content-type", "retry-after", FAILED_HEADER)

Handler = Callable[[Request], Awaitable[Response]]


class Gateway:
    """Passes requests on and counts what the services behind answer."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._clients = {name: telemetry.client(name, TIMEOUT_SECONDS) for name in SERVICES}
        self._upstream = telemetry.metrics.counter(
            "upstream_requests_total", "Requests passed on, by answer.", ["upstream", "status"]
        )

    @asynccontextmanager
    async def ask(
        self, upstream: str, method: str, path: str, body: bytes, headers: Mapping[str, str], query: bytes = b""
    ) -> AsyncIterator[httpx.Response]:
        """The answer of ``upstream``, whose body is to be read inside, and which is counted at its end.

        Raises DependencyError where there is none or it breaks off, HTTPException for too long a URL.
        """
        url = onward.url(path, query)
        try:
            async with self._clients[upstream].stream(method, url, content=body, headers=headers) as response:
                yield response
        except DependencyError as error:
            self._upstream.labels(upstream, error.code).inc()
            raise
        self._upstream.labels(upstream, str(response.status_code)).inc()

    async def send(
        self, upstream: str, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> httpx.Response:
        """The whole answer of ``upstream``. Raises what ``ask`` does."""
        async with self.ask(upstream, method, path, body, headers) as response:
            await response.aread()
        return response

    def to(self, upstream: str, path: str) -> Handler:
        """A handler that passes the request on to ``path`` (with the route's parameters filled in)."""

        async def handler(request: Request) -> Response:
            body = await web.read_body(request)
            headers = onward.headers(request, PASSED_ON)
            target = path.format_map({name: onward.segment(value) for name, value in request.path_params.items()})
            asking = self.ask(upstream, request.method, target, body, headers, request.scope["query_string"])
            answer = await onward.answer(asking, PASSED_BACK)
            # What breaks behind the gateway is its 502; 503 says "ask again later" and stays.
            if answer.status_code >= 500 and answer.status_code != 503:
                answer.status_code = 502
            return answer

        return handler


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the gateway."""
    gateway = Gateway(telemetry)
    store = telemetry.redis()
    guard = Guard(telemetry, store)
    webhook = GithubWebhook(telemetry, telemetry.settings.secret("WEBHOOK_SECRET_FILE"), store, gateway.send)

    def route(path: str, methods: list[str], upstream: str, target: str) -> Route:
        return Route(path, guard.around(gateway.to(upstream, target)), methods=methods)

    routes = [
        route("/api/users", ["POST"], "platform-services", "/users"),
        route("/api/session", ["POST", "GET", "DELETE"], "platform-services", "/session"),
        route("/api/chat", ["POST"], "llm-orchestrator", "/chat"),
        route("/api/records", ["GET", "POST"], "airtable-gateway", "/records"),
        route("/api/jobs", ["POST"], "automation-services", "/jobs"),
        route("/api/jobs/{job}", ["GET"], "automation-services", "/jobs/{job}"),
        route("/api/upgrades", ["POST"], "automation-services", "/upgrades"),
        route("/api/proofs", ["POST"], "automation-services", "/proofs"),
        route("/api/digests", ["POST"], "automation-services", "/digests"),
        route("/api/orders", ["POST"], "saga-orchestrator", "/sagas"),
        route("/api/refunds", ["POST"], "saga-orchestrator", "/refunds"),
        route("/api/orders/{order}", ["GET"], "saga-orchestrator", "/sagas/{order}"),
        route("/api/tools/{tool}", ["POST"], "mcp-server", "/tools/{tool}"),
        Route("/webhooks/github", guard.around(webhook.receive), methods=["POST"]),
    ]
    return guard.watch(telemetry.app(routes))
