"""Airtable's records API as a client sees it: limited, counted, asked again where that is safe."""

import asyncio
import random
import time
from typing import Any

import httpx

from airtable_gateway.limiter import Limiter, Throttled
from telemetry import DependencyError, Telemetry, get_logger
from telemetry.client import ObservedTransport, retry_after

BASE = "appLookout"
# airtable.com/developers/web/api/rate-limits: of a base, and how long all is refused where it was exceeded.
REQUESTS_PER_SECOND = 5
PENALTY_SECONDS = 30.0
MAX_BATCH = 10
PAGE_SIZE = 100
MAX_WAIT_SECONDS = 2.0
ATTEMPTS = 2
BACKOFF_SECONDS = (0.1, 0.4)
OPERATIONS = ("list", "create", "delete")
log = get_logger("airtable_gateway")


class Refused(Exception):
    """Airtable answered with an error; ``created`` are records of the same call that it did create."""

    def __init__(self, status: int, message: str, created: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.created = created or []


class Airtable:
    """Raises Refused, Throttled, or DependencyError where Airtable cannot be reached."""

    def __init__(self, telemetry: Telemetry, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"authorization": f"Bearer {token}"}
        metrics = telemetry.metrics
        self._requests = metrics.counter("airtable_requests_total", "Requests to Airtable.", ["operation", "status"])
        self._seconds = metrics.histogram("airtable_request_duration_seconds", "Duration of requests to Airtable.")
        self._waits = metrics.histogram("airtable_wait_seconds", "Time that requests waited for the rate limit.")
        remaining = metrics.gauge("airtable_rate_limit_remaining", "Requests that may be made now, of a second's.")
        self._throttled = metrics.counter(
            "airtable_throttled_total", "Requests held back too long for the rate limit, or refused with 429."
        )
        self._pool = metrics.gauge("airtable_pool_connections", "Connections to Airtable.", ["state"])
        for operation in OPERATIONS:
            for status in ("200", "429"):
                self._requests.labels(operation, status)
        self._limiter = Limiter(REQUESTS_PER_SECOND, MAX_WAIT_SECONDS)
        # Asked at each scrape: a pause ends by itself, without a request that could tell.
        remaining.set_function(lambda: self._limiter.remaining)
        telemetry.before_scrape(self._measure)

    async def records(self, table: str, limit: int, where: tuple[str, str] | None = None) -> list[dict[str, Any]]:
        """The first ``limit`` records of a table, page by page; ``where`` is a field and the text that it must have."""
        records: list[dict[str, Any]] = []
        query = {} if where is None else {"filterByFormula": _equals(*where)}
        while len(records) < limit:
            query["pageSize"] = str(min(PAGE_SIZE, limit - len(records)))
            page = await self._ask("list", "GET", f"/v0/{BASE}/{table}", params=query)
            records += page["records"]
            if not page.get("offset"):
                break
            query["offset"] = page["offset"]
        return records

    async def create(self, table: str, fields: list[Any]) -> list[dict[str, Any]]:
        """A record for each of ``fields``, in batches; Refused tells of those that were made before it."""
        created: list[dict[str, Any]] = []
        for start in range(0, len(fields), MAX_BATCH):
            batch = [{"fields": one} for one in fields[start : start + MAX_BATCH]]
            try:
                answer = await self._ask("create", "POST", f"/v0/{BASE}/{table}", json={"records": batch})
            except Refused as error:
                raise Refused(error.status, str(error), created) from error
            except (Throttled, DependencyError) as error:
                if created:
                    raise Refused(429 if isinstance(error, Throttled) else error.status, str(error), created) from error
                raise
            created += answer["records"]
        return created

    async def delete(self, table: str, record: str) -> dict[str, Any]:
        """Delete one record."""
        return await self._ask("delete", "DELETE", f"/v0/{BASE}/{table}/{record}")

    async def _ask(self, operation: str, method: str, path: str, **options: Any) -> dict[str, Any]:
        for attempt in range(1, ATTEMPTS + 1):
            answer = await self._send(operation, method, path, options)
            if answer.status_code == 429:
                self._throttled.inc()
                wait = min(retry_after(answer.headers, PENALTY_SECONDS), 2 * PENALTY_SECONDS)
                self._limiter.pause(wait)
                if wait > MAX_WAIT_SECONDS or attempt == ATTEMPTS:
                    raise Throttled(wait)
            # A write may have been done before its answer was lost; to read again does no harm.
            elif answer.status_code >= 500 and method == "GET" and attempt < ATTEMPTS:
                await asyncio.sleep(random.uniform(*BACKOFF_SECONDS))
            elif answer.is_error:
                raise Refused(answer.status_code, _message(answer))
            else:
                return dict(answer.json())
            log.warning("asking Airtable again", operation=operation, status=answer.status_code, attempt=attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, operation: str, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        asked = time.perf_counter()
        try:
            async with self._limiter.place():
                self._waits.observe(time.perf_counter() - asked)
                return await self._observed(operation, method, path, options)
        except Throttled:
            self._throttled.inc()
            raise

    async def _observed(self, operation: str, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        start = time.perf_counter()
        status = "error"
        try:
            answer = await self._http.request(method, path, headers=self._headers, **options)
            status = str(answer.status_code)
            return answer
        except DependencyError as error:
            status = error.code
            raise
        finally:
            self._requests.labels(operation, status).inc()
            self._seconds.observe(time.perf_counter() - start)

    async def _measure(self) -> None:
        transport = self._http._transport
        assert isinstance(transport, ObservedTransport)
        assert isinstance(transport.inner, httpx.AsyncHTTPTransport)
        # httpx does not show its pool; httpcore, which it is made of, does.
        connections = transport.inner._pool.connections
        idle = sum(connection.is_idle() for connection in connections)
        self._pool.labels("idle").set(idle)
        self._pool.labels("used").set(len(connections) - idle)


def _equals(field: str, value: str) -> str:
    """The formula that is true of records whose ``field``, a plain name, has the text ``value``, whatever is in it."""
    quoted = value.replace("\\", r"\\").replace('"', r"\"")
    return f'{{{field}}}="{quoted}"'


def _message(answer: httpx.Response) -> str:
    """What Airtable says is wrong: an object for most errors, a word for a few."""
    try:
        error = answer.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return f"Airtable answered {answer.status_code}"
