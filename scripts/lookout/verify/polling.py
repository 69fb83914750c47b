"""One way to wait: ask until it is so, and say what was waited for and the last reason why not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import Unsatisfied

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a question whose answer is not there yet; its text says why."""


def poll_until(ask: Callable[[], T], what: str, within: float, every: float = 0.5) -> T:
    """The first answer of ``ask`` that is no NotYet, asked every ``every`` s.

    Raises Unsatisfied after ``within`` s, with the last reason.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            return ask()
        except NotYet as reason:
            if time.monotonic() >= deadline:
                raise Unsatisfied(f"{what}: not within {within:.0f} s; last: {reason}") from None
        time.sleep(every)
