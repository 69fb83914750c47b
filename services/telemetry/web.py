"""What every handler needs: bounded JSON in, JSON errors out."""

import json
import re
from collections.abc import Iterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from telemetry.answers import error_body
from telemetry.errors import FAILED_HEADER, DependencyError
from telemetry.logs import get_logger

MAX_BODY_BYTES = 64 * 1024
MAX_DIGITS = 19
"""Of a number in a query: as many as the largest of 64 bits has."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
log = get_logger("telemetry.web")


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises HTTPException 413 as soon as it is longer than ``max_bytes``."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise HTTPException(413, f"the body is longer than {max_bytes} bytes")
            chunks.append(chunk)
    except ClientDisconnect:
        raise HTTPException(400, "the client went away") from None
    return b"".join(chunks)


async def read_json(request: Request, max_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object. Raises HTTPException 400 or 413 with the reason."""
    return json_object(await read_body(request, max_bytes), "the body")


def json_object(document: bytes, what: str) -> dict[str, Any]:
    """``document``, which a message calls ``what``, as a JSON object of storable text. Raises HTTPException 400."""
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise HTTPException(400, f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(400, f"{what} is not a JSON object")
    if not all(map(storable, _texts(found))):
        raise HTTPException(400, f"{what} has a NUL character or half of a surrogate pair in it")
    return found


def storable(text: str) -> bool:
    """Whether text can be sent and stored: JSON can escape what UTF-8 has no bytes for, and PostgreSQL takes no NUL."""
    return _UNSTORABLE.search(text) is None


def _texts(document: Any) -> Iterator[str]:
    """All names and texts of a document, however deep."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += value.keys()
            left += value.values()
        elif isinstance(value, list):
            left += value


def text(body: dict[str, Any], field: str, max_length: int = 1000, default: str | None = None) -> str:
    """A text field; HTTPException 400 where it is missing (without default), empty, too long or no text."""
    value = body.get(field, default)
    if not isinstance(value, str) or not value or len(value) > max_length:
        raise HTTPException(400, f"{field} must be text of 1 to {max_length} characters")
    return value


def number(body: dict[str, Any], field: str, minimum: float, maximum: float) -> float:
    """A number field within its bounds; HTTPException 400 otherwise."""
    value = body.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
        raise HTTPException(400, f"{field} must be a number from {minimum:g} to {maximum:g}")
    return float(value)


def whole_number(text: str, name: str, minimum: int, maximum: int) -> int:
    """A whole number of a query, in decimal digits, within its bounds; HTTPException 400, with its name, otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and minimum <= int(text) <= maximum):
        raise HTTPException(400, f"{name} must be a whole number from {minimum} to {maximum}")
    return int(text)


def failure(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The body of every answer that is not a success."""
    return JSONResponse(error_body(code, message), status, headers)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """HTTPException as JSON."""
    assert isinstance(error, HTTPException)
    return failure(error.status_code, "http_error", str(error.detail), dict(error.headers or {}))


async def on_exception(_request: Request, _error: Exception) -> Response:
    """Any other exception as JSON without a word about it; the middleware logs it."""
    return failure(500, "internal_error", "internal error")


async def on_dependency_error(_request: Request, error: Exception) -> Response:
    """DependencyError as JSON with its status, and a line in the log."""
    assert isinstance(error, DependencyError)
    log.error("dependency failed", dependency=error.dependency, reason=error.reason, code=error.code)
    failed = {FAILED_HEADER: error.dependency}
    return failure(error.status, error.code, f"{error.dependency} failed", failed)


EXCEPTION_HANDLERS: dict[Any, Any] = {
    HTTPException: on_http_exception,
    DependencyError: on_dependency_error,
    Exception: on_exception,
}
