"""What is passed on to a service behind, a URL made from parts that a client chose and headers; and its answer."""

import re
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from string import punctuation
from urllib.parse import quote

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

MAX_LENGTH = 16 * 1024
"""Characters of a URL that is passed on; each byte that is no ASCII takes three of them."""
# Control characters, and halves of surrogate pairs.
_IMPOSSIBLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NO_HEADER = re.compile("[\x00\n-\r]")


def segment(value: str) -> str:
    """One decoded segment of a path, percent-encoded so that it stays one.

    Raises HTTPException 404 for control characters, which no path has, and for "." and "..", which lead elsewhere.
    """
    if value in (".", "..") or _IMPOSSIBLE.search(value):
        raise HTTPException(404, "no such path")
    return quote(value, safe="")


def url(path: str, query: bytes = b"") -> httpx.URL:
    """The URL of an encoded path and a query as it came. Raises HTTPException 414 beyond MAX_LENGTH."""
    encoded = quote(query, safe=punctuation)
    if len(path) + len(encoded) > MAX_LENGTH:
        raise HTTPException(414, f"the URL is longer than {MAX_LENGTH} characters")
    return httpx.URL(path=path, query=encoded.encode()) if encoded else httpx.URL(path=path)


def headers(request: Request, names: Iterable[str]) -> httpx.Headers:
    """Those of the request's headers that have these names, byte for byte; httpx by itself takes ASCII only.

    White space around a value is none of it (RFC 9110, 5.5); not all servers take it away, and httpx does not send it.
    Raises HTTPException 400 for NUL and all kinds of line breaks, which cannot be sent either.
    """
    found = {name: request.headers[name].strip(" \t") for name in names if name in request.headers}
    for name, value in found.items():
        if _NO_HEADER.search(value):
            raise HTTPException(400, f"the header {name} has a line break or a NUL character in it")
    return httpx.Headers(found, encoding="latin-1")


async def answer(asking: AbstractAsyncContextManager[httpx.Response], passed_back: Iterable[str]) -> Response:
    """The answer to ``asking`` with these headers of it: whole where its length is known, else as it arrives.

    Raises DependencyError where there is none; one that breaks off as it arrives breaks off for the client too.
    """
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(asking)
        back = {name: found.headers[name] for name in passed_back if name in found.headers}
        if "content-length" in found.headers:
            return Response(await found.aread(), found.status_code, back)
        return _Arriving(found, back, stack.pop_all())


class _Arriving(StreamingResponse):
    """Ends ``asking`` with itself, also where the client has left."""

    def __init__(self, found: httpx.Response, headers: dict[str, str], asking: AsyncExitStack) -> None:
        super().__init__(found.aiter_bytes(), found.status_code, headers)
        self._asking = asking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._asking:
            await super().__call__(scope, receive, send)
