"""``GET /records?limit=``, also with ``&field=&value=``, ``POST /records`` with ``{"fields": {…}}`` or
``{"records": [{"fields": {…}}, …]}``, ``DELETE /records/{record}``.

All take ``?table=`` (default orders). Needs UPSTREAM_SIMULATORS and AIRTABLE_TOKEN_FILE.
"""

import math
import re
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from airtable_gateway.airtable import Airtable, Refused
from airtable_gateway.limiter import Throttled
from telemetry import Telemetry, web

MAX_RECORDS = 50
MAX_LIMIT = 500
MAX_VALUE = 200
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Handler = Callable[[Request], Awaitable[Response]]


class Records:
    """Records over HTTP."""

    def __init__(self, airtable: Airtable) -> None:
        self._airtable = airtable

    async def show(self, request: Request) -> Response:
        """The first records of a table, or of those whose ``field`` has the ``value``: 100, or as many as ``limit``."""
        limit = web.whole_number(request.query_params.get("limit", "100"), "limit", 1, MAX_LIMIT)
        found = await self._airtable.records(_table(request), limit, _where(request))
        return JSONResponse({"records": found})

    async def create(self, request: Request) -> Response:
        """Create one record, or up to MAX_RECORDS."""
        body = await web.read_json(request)
        if "records" not in body:
            return JSONResponse((await self._airtable.create(_table(request), [body.get("fields")]))[0], 201)
        records = body["records"]
        if not isinstance(records, list) or not 1 <= len(records) <= MAX_RECORDS:
            raise HTTPException(400, f"records must be a list of 1 to {MAX_RECORDS} objects")
        fields = [record.get("fields") if isinstance(record, dict) else None for record in records]
        return JSONResponse({"records": await self._airtable.create(_table(request), fields)}, 201)

    async def delete(self, request: Request) -> Response:
        """Delete a record."""
        record = request.path_params["record"]
        if not _NAME.fullmatch(record):
            raise HTTPException(404, "no such record")
        return JSONResponse(await self._airtable.delete(_table(request), record))


def _answering(handler: Handler) -> Handler:
    """``handler``, with what Airtable refuses as an answer."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Throttled as error:
            wait = {"retry-after": str(math.ceil(error.retry_after))}
            return web.failure(429, "airtable_throttled", "Airtable is throttling", wait)
        except Refused as error:
            failed = error.status >= 500
            # A wrong token is this gateway's fault, not that of whoever asked it.
            status = 502 if failed or error.status in (401, 403) else error.status
            created = f"; {len(error.created)} records were created" if error.created else ""
            return web.failure(status, "airtable_failed" if failed else "airtable_refused", f"{error}{created}")

    return answer


def _table(request: Request) -> str:
    return _name("table", request.query_params.get("table", "orders"))


def _where(request: Request) -> tuple[str, str] | None:
    query = request.query_params
    if "field" not in query and "value" not in query:
        return None
    value = query.get("value", "")
    if not 1 <= len(value) <= MAX_VALUE or not value.isprintable():
        raise HTTPException(400, f"value must be text of 1 to {MAX_VALUE} printable characters")
    return _name("field", query.get("field", "")), value


def _name(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise HTTPException(400, f"{what} must be 1 to 64 letters, digits, - or _")
    return name


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the gateway to Airtable."""
    token = telemetry.settings.secret("AIRTABLE_TOKEN_FILE")
    records = Records(Airtable(telemetry, telemetry.client("simulators"), token))
    return telemetry.app(
        [
            Route("/records", _answering(records.show), methods=["GET"]),
            Route("/records", _answering(records.create), methods=["POST"]),
            Route("/records/{record}", _answering(records.delete), methods=["DELETE"]),
        ]
    )
