"""What of a request is passed on to a service behind: its URL, made from parts that a client chose, and headers."""

import re
from collections.abc import Iterable
from string import punctuation
from urllib.parse import quote

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_LENGTH = 16 * 1024
"""Characters of a URL that is passed on; each byte that is no ASCII takes three of them."""
# Control characters, and halves of surrogate pairs.
_IMPOSSIBLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


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
    """Those of the request's headers that have these names, byte for byte; httpx by itself takes ASCII only."""
    return httpx.Headers({name: request.headers[name] for name in names if name in request.headers}, encoding="latin-1")
