"""Who and what the work at hand belongs to: request and correlation ids, and the user where known.

Ids are accepted when well formed, else made. All are carried by a context variable, into tasks and threads too.
"""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass

from telemetry import masking

REQUEST_HEADER = "x-request-id"
CORRELATION_HEADER = "x-correlation-id"
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,128}")


@dataclass(slots=True)
class Ids:
    """The two ids of the work at hand, and the id of its user once that is known."""

    request: str
    correlation: str
    user: str | None = None


_current: ContextVar[Ids | None] = ContextVar("lookout_ids", default=None)


def accept(request_id: str | None, correlation_id: str | None) -> Ids:
    """Ids from header values; what is missing or malformed is made anew."""
    request = request_id if request_id is not None and _well_formed(request_id) else new_id()
    correlation = correlation_id if correlation_id is not None and _well_formed(correlation_id) else request
    return Ids(request, correlation)


def new_id() -> str:
    """128 random bits as 32 hexadecimal digits. Unique, not secret: no need to ask the operating system."""
    return f"{random.getrandbits(128):032x}"


def bind(ids: Ids) -> "Token[Ids | None]":
    """Make ``ids`` those of the running task (and of tasks that it starts); the token is for ``unbind``."""
    return _current.set(ids)


def unbind(token: "Token[Ids | None]") -> None:
    """Undo a ``bind``."""
    _current.reset(token)


def bind_user(user_id: str) -> None:
    """Put ``user_id`` into the log lines of the work at hand, from now on and up to its access line.

    It should be an opaque id. What looks like personal data (an e-mail address) is masked. Outside of a request or
    job it does nothing.
    """
    ids = _current.get()
    if ids is not None:
        # The object is shared with the middleware: a handler that runs in a thread has a copy of the context.
        ids.user = masking.mask_text(user_id)


@contextmanager
def bound(ids: Ids) -> Iterator[None]:
    """Bind ``ids`` for a piece of work in a task that goes on after it."""
    token = bind(ids)
    try:
        yield
    finally:
        unbind(token)


def current() -> Ids | None:
    """Ids of the running task, None outside of a request or job."""
    return _current.get()


def headers() -> dict[str, str]:
    """The ids as headers for a downstream service."""
    ids = _current.get()
    return {} if ids is None else {REQUEST_HEADER: ids.request, CORRELATION_HEADER: ids.correlation}


def attributes() -> dict[str, str]:
    """The ids as attributes of a span."""
    ids = _current.get()
    return {} if ids is None else {"lookout.request_id": ids.request, "lookout.correlation_id": ids.correlation}


def _well_formed(value: str) -> bool:
    # Whoever sends a key or a card number as an id does not get it into every log line.
    return WELL_FORMED.fullmatch(value) is not None and masking.mask_text(value) == value
