"""Request and correlation ids: accepted when well formed, else made; carried by context variables."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

REQUEST_HEADER = "x-request-id"
CORRELATION_HEADER = "x-correlation-id"
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,128}")


class Ids(NamedTuple):
    """The two ids of the work at hand."""

    request: str
    correlation: str


_current: ContextVar[Ids | None] = ContextVar("lookout_ids", default=None)


def accept(request_id: str | None, correlation_id: str | None) -> Ids:
    """Ids from header values; what is missing or malformed is made anew."""
    request = request_id if _well_formed(request_id) else uuid.uuid4().hex
    assert request is not None
    correlation = correlation_id if _well_formed(correlation_id) else request
    assert correlation is not None
    return Ids(request, correlation)


def bind(ids: Ids) -> None:
    """Make ``ids`` those of the running task (and of tasks that it starts)."""
    _current.set(ids)


@contextmanager
def bound(ids: Ids) -> Iterator[None]:
    """Bind ``ids`` for a piece of work in a task that goes on after it."""
    token = _current.set(ids)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Ids | None:
    """Ids of the running task, None outside of a request or job."""
    return _current.get()


def headers() -> dict[str, str]:
    """The ids as headers for a downstream service."""
    ids = _current.get()
    return {} if ids is None else {REQUEST_HEADER: ids.request, CORRELATION_HEADER: ids.correlation}


def _well_formed(value: str | None) -> bool:
    return value is not None and WELL_FORMED.fullmatch(value) is not None
