"""Airtable's records API in memory (airtable.com/developers/web/api: list-records, errors, rate-limits).

The one formula it knows is ``{field}="value"``, with a backslash before each quote and backslash of the value.
What goes wrong is decided by the name of the table: "throttled" is answered 429, "unavailable" 503, "slow" late.
"""

import asyncio
import hmac
import re
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from simulators.faults import SLOW_SECONDS
from simulators.shapes import bearer
from telemetry import web

MAX_RECORDS = 500
MAX_TABLES = 50
MAX_BATCH = 10
PAGE_SIZE = 100
WINDOW_SECONDS = 1.0
_FORMULA = re.compile(r'\s*\{([^{}]+)\}\s*=\s*"((?:[^"\\]|\\["\\])*)"\s*')
Handler = Callable[[Request], Awaitable[Response]]


class Refusal(Exception):
    """An error in Airtable's shape."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def response(self) -> Response:
        """As Airtable answers it."""
        return JSONResponse({"error": {"type": self.kind, "message": str(self)}}, self.status)


class Airtable:
    """Tables by base and name; the oldest records and tables make room for new ones.

    Each base allows ``rate`` requests a second; one more, and all are refused for ``penalty_seconds``.
    """

    def __init__(
        self, token: str, rate: int, penalty_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._token = token
        self._rate = rate
        self._penalty_seconds = penalty_seconds
        self._clock = clock
        self._tables: OrderedDict[tuple[str, str], OrderedDict[str, dict[str, Any]]] = OrderedDict()
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()
        self._refused_until: dict[str, float] = {}

    def around(self, handler: Handler) -> Handler:
        """``handler`` behind the token, the rate limit and the faults."""

        async def guarded(request: Request) -> Response:
            if not hmac.compare_digest(bearer(request.headers).encode(), self._token.encode()):
                return Refusal(401, "AUTHENTICATION_REQUIRED", "Authentication required").response()
            table = request.path_params["table"]
            wait = 1.0 if table == "throttled" else self._wait(request.path_params["base"])
            if wait > 0:
                body = {"errors": [{"error": "RATE_LIMIT_REACHED", "message": "Rate limit exceeded"}]}
                # Airtable promises no Retry-After, only the 30 s: a client must do without, and may use it.
                return JSONResponse(body, 429, {"retry-after": f"{wait:.0f}"})
            if table == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            if table == "unavailable":
                return Refusal(503, "SERVICE_UNAVAILABLE", "The service is temporarily unavailable").response()
            try:
                return await handler(request)
            except Refusal as refusal:
                return refusal.response()

        return guarded

    async def list_records(self, request: Request) -> Response:
        """A page of records, the oldest first, with the ``offset`` of the next page where there is one.

        With ``filterByFormula`` only those of which it is true.
        """
        try:
            size = web.whole_number(request.query_params.get("pageSize", str(PAGE_SIZE)), "pageSize", 1, PAGE_SIZE)
        except HTTPException as error:
            raise Refusal(422, "INVALID_PAGE_SIZE", str(error.detail)) from None
        is_wanted = _condition(request.query_params.get("filterByFormula", ""))
        table = self._table(request)
        names = [name for name, record in table.items() if is_wanted(record["fields"])]
        start = 0
        if offset := request.query_params.get("offset"):
            last = offset.partition("/")[2]
            if last not in names:
                raise Refusal(422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE", "The offset is no longer valid")
            start = names.index(last) + 1
        page = names[start : start + size]
        found: dict[str, Any] = {"records": [table[name] for name in page]}
        if start + len(page) < len(names):
            found["offset"] = f"itr{uuid.uuid4().hex[:14]}/{page[-1]}"
        return JSONResponse(found)

    async def create(self, request: Request) -> Response:
        """One record from ``fields``, or up to MAX_BATCH from ``records``: all of them or none."""
        try:
            body = await web.read_json(request)
        except HTTPException as error:
            raise Refusal(422, "INVALID_REQUEST_BODY", str(error.detail)) from None
        if "records" not in body:
            return JSONResponse(self._keep(request, _fields(body)))
        records = body["records"]
        if not isinstance(records, list) or not 1 <= len(records) <= MAX_BATCH:
            raise Refusal(422, "INVALID_RECORDS", f"records must be 1 to {MAX_BATCH} records")
        fields = [_fields(record) for record in records]
        return JSONResponse({"records": [self._keep(request, one) for one in fields]})

    async def delete(self, request: Request) -> Response:
        """Delete a record; 404 where there is none."""
        record = str(request.path_params["record"])
        if self._table(request).pop(record, None) is None:
            raise Refusal(404, "MODEL_ID_NOT_FOUND", "Record not found")
        return JSONResponse({"id": record, "deleted": True})

    def _keep(self, request: Request, fields: dict[str, Any]) -> dict[str, Any]:
        name = "rec" + uuid.uuid4().hex[:14]
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        record = {"id": name, "createdTime": created, "fields": fields}
        table = self._table(request)
        table[name] = record
        while len(table) > MAX_RECORDS:
            table.popitem(last=False)
        return record

    def _table(self, request: Request) -> OrderedDict[str, dict[str, Any]]:
        key = (request.path_params["base"], request.path_params["table"])
        table = self._tables.setdefault(key, OrderedDict())
        self._tables.move_to_end(key)
        while len(self._tables) > MAX_TABLES:
            self._tables.popitem(last=False)
        return table

    def _wait(self, base: str) -> float:
        """Take one request of this second's budget and return 0, or return the seconds until one is allowed."""
        now = self._clock()
        until = self._refused_until.get(base, 0.0)
        if now < until:
            return max(until - now, 1.0)
        asked = self._asked.setdefault(base, deque())
        self._asked.move_to_end(base)
        while len(self._asked) > MAX_TABLES:
            forgotten, _ = self._asked.popitem(last=False)
            self._refused_until.pop(forgotten, None)
        while asked and now - asked[0] >= WINDOW_SECONDS:
            asked.popleft()
        if len(asked) < self._rate:
            asked.append(now)
            return 0.0
        self._refused_until[base] = now + self._penalty_seconds
        return self._penalty_seconds


def _condition(formula: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a formula is true of the fields of a record; without one all are wanted."""
    if not formula:
        return lambda _fields: True
    found = _FORMULA.fullmatch(formula)
    if found is None:
        raise Refusal(422, "INVALID_FILTER_BY_FORMULA", "The formula for filtering records is invalid")
    field, value = found[1], re.sub(r"\\(.)", r"\1", found[2])
    return lambda fields: bool(fields.get(field, "") == value)


def _fields(record: Any) -> dict[str, Any]:
    fields = record.get("fields") if isinstance(record, dict) else None
    if not isinstance(fields, dict) or not fields:
        raise Refusal(422, "INVALID_REQUEST_MISSING_FIELDS", 'Could not find field "fields" in the request body')
    for name, value in fields.items():
        if isinstance(value, dict):
            raise Refusal(422, "INVALID_VALUE_FOR_COLUMN", f'Field "{name}" cannot accept the provided value')
    return fields
