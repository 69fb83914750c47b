"""Airtable's records API in memory, with its rate limit (airtable.com/developers/web/api/rate-limits)."""

import time
import uuid
from collections import OrderedDict, deque
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from telemetry import web

REQUESTS_PER_SECOND = 5
MAX_RECORDS = 500
MAX_TABLES = 50
PAGE_SIZE = 20


class Airtable:
    """Tables by base and name; the oldest records and tables make room for new ones."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[str, str], OrderedDict[str, dict[str, Any]]] = OrderedDict()
        self._asked: dict[str, deque[float]] = {}

    async def list_records(self, request: Request) -> Response:
        """The newest records."""
        headers = self._spend(request)
        records = list(self._table(request).values())[-PAGE_SIZE:]
        return JSONResponse({"records": records}, headers=headers)

    async def create(self, request: Request) -> Response:
        """One record from ``fields``."""
        headers = self._spend(request)
        fields = (await web.read_json(request)).get("fields")
        if not isinstance(fields, dict) or not fields:
            raise HTTPException(422, "fields must be an object that is not empty")
        name = "rec" + uuid.uuid4().hex[:14]
        record = {"id": name, "fields": fields}
        table = self._table(request)
        table[name] = record
        while len(table) > MAX_RECORDS:
            table.popitem(last=False)
        return JSONResponse(record, headers=headers)

    async def delete(self, request: Request) -> Response:
        """Delete a record; 404 where there is none."""
        headers = self._spend(request)
        record = str(request.path_params["record"])
        if self._table(request).pop(record, None) is None:
            raise HTTPException(404, "no such record")
        return JSONResponse({"id": record, "deleted": True}, headers=headers)

    def _table(self, request: Request) -> OrderedDict[str, dict[str, Any]]:
        key = (request.path_params["base"], request.path_params["table"])
        table = self._tables.setdefault(key, OrderedDict())
        self._tables.move_to_end(key)
        while len(self._tables) > MAX_TABLES:
            self._tables.popitem(last=False)
        return table

    def _spend(self, request: Request) -> dict[str, str]:
        """Take one request of this second's budget. Raises HTTPException 429 where it is spent."""
        now = time.monotonic()
        if len(self._asked) > MAX_TABLES:
            self._asked.clear()
        asked = self._asked.setdefault(request.path_params["base"], deque())
        while asked and now - asked[0] >= 1.0:
            asked.popleft()
        if len(asked) >= REQUESTS_PER_SECOND:
            wait = 1.0 - (now - asked[0])
            raise HTTPException(429, "too many requests", {"retry-after": f"{wait:.3f}", "x-ratelimit-remaining": "0"})
        asked.append(now)
        return {"x-ratelimit-remaining": str(REQUESTS_PER_SECOND - len(asked))}
