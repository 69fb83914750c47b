"""Answers of the library itself, in plain ASGI, so that an application needs no framework."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from telemetry import ids
from telemetry.errors import FAILED_HEADER, DependencyError

if TYPE_CHECKING:
    from starlette.types import Send

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


async def send_answer(
    send: Send, status: int, body: bytes, content_type: bytes, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """A whole response, with ``more`` headers."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(code: str, message: str) -> dict[str, Any]:
    """The body of every answer that is not a success."""
    bound = ids.current()
    return {"error": {"code": code, "message": message, "request_id": bound.request if bound else None}}


async def send_dependency_error(send: Send, error: DependencyError) -> None:
    """The status of the error, and whose failure it is."""
    body = json.dumps(error_body(error.code, f"{error.dependency} failed")).encode()
    await send_answer(send, error.status, body, JSON, [(FAILED_HEADER.encode(), error.dependency.encode())])


async def send_internal_error(send: Send) -> None:
    """500, without a word about what happened."""
    await send_answer(send, 500, json.dumps(error_body("internal_error", "internal error")).encode(), JSON)
