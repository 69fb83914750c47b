"""``GET /records``, ``POST /records`` with ``{"fields": {…}}``, ``DELETE /records/{record}``.

All take ``?table=`` (default orders). Needs UPSTREAM_SIMULATORS.
"""

import asyncio
import re
import time
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from telemetry import DependencyError, Telemetry, web
from telemetry.client import ObservedTransport

BASE = "appLookout"
MAX_WAIT_SECONDS = 1.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Gateway:
    """Asks Airtable and tells how near its limit is."""

    def __init__(self, telemetry: Telemetry, airtable: httpx.AsyncClient) -> None:
        self._airtable = airtable
        metrics = telemetry.metrics
        self._requests = metrics.counter("airtable_requests_total", "Requests to Airtable.", ["operation", "status"])
        self._seconds = metrics.histogram("airtable_request_duration_seconds", "Duration of requests to Airtable.")
        self._remaining = metrics.gauge("airtable_rate_limit_remaining", "Requests left in this second, as last told.")
        self._throttled = metrics.counter("airtable_throttled_total", "Requests that Airtable refused with 429.")
        self._pool = metrics.gauge("airtable_pool_connections", "Connections to Airtable.", ["state"])
        telemetry.before_scrape(self._measure)

    async def list(self, request: Request) -> Response:
        """The newest records of a table."""
        return await self._answer("list", "GET", f"/v0/{BASE}/{_table(request)}")

    async def create(self, request: Request) -> Response:
        """Create a record."""
        fields = (await web.read_json(request)).get("fields")
        return await self._answer("create", "POST", f"/v0/{BASE}/{_table(request)}", {"fields": fields}, 201)

    async def delete(self, request: Request) -> Response:
        """Delete a record."""
        record = request.path_params["record"]
        if not _NAME.fullmatch(record):
            raise HTTPException(404, "no such record")
        return await self._answer("delete", "DELETE", f"/v0/{BASE}/{_table(request)}/{record}")

    async def _answer(
        self, operation: str, method: str, path: str, body: dict[str, Any] | None = None, success: int = 200
    ) -> Response:
        answer = await self._ask(operation, method, path, body)
        if answer.status_code == 429:
            # One more try after the wait that Airtable asks for; a longer queue would only hide the limit.
            await asyncio.sleep(min(float(answer.headers.get("retry-after", "1")), MAX_WAIT_SECONDS))
            answer = await self._ask(operation, method, path, body)
        if answer.status_code == 429:
            return web.failure(429, "airtable_throttled", "Airtable is throttling", {"retry-after": "1"})
        if answer.status_code >= 500:
            return web.failure(502, "airtable_failed", f"Airtable answered {answer.status_code}")
        if answer.is_error:
            return web.failure(answer.status_code, "airtable_refused", answer.json()["error"]["message"])
        return JSONResponse(answer.json(), success)

    async def _ask(self, operation: str, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        start = time.perf_counter()
        status = "error"
        try:
            answer = await self._airtable.request(method, path, json=body)
            status = str(answer.status_code)
        except DependencyError as error:
            status = error.code
            raise
        finally:
            self._requests.labels(operation, status).inc()
            self._seconds.observe(time.perf_counter() - start)
        if "x-ratelimit-remaining" in answer.headers:
            self._remaining.set(float(answer.headers["x-ratelimit-remaining"]))
        if answer.status_code == 429:
            self._throttled.inc()
        return answer

    async def _measure(self) -> None:
        transport = self._airtable._transport
        assert isinstance(transport, ObservedTransport)
        assert isinstance(transport.inner, httpx.AsyncHTTPTransport)
        # httpx does not show its pool; httpcore, which it is made of, does.
        connections = transport.inner._pool.connections
        idle = sum(connection.is_idle() for connection in connections)
        self._pool.labels("idle").set(idle)
        self._pool.labels("used").set(len(connections) - idle)


def _table(request: Request) -> str:
    table = request.query_params.get("table", "orders")
    if not _NAME.fullmatch(table):
        raise HTTPException(400, "table must be 1 to 64 letters, digits, - or _")
    return table


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the gateway to Airtable."""
    gateway = Gateway(telemetry, telemetry.client("simulators"))
    return telemetry.app(
        [
            Route("/records", gateway.list, methods=["GET"]),
            Route("/records", gateway.create, methods=["POST"]),
            Route("/records/{record}", gateway.delete, methods=["DELETE"]),
        ]
    )
