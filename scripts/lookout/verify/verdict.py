"""The answer to one question of `up` and `status`, and what a question is."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import engine
from .polling import NotYet
from .servers import Live


@dataclass(frozen=True)
class Verdict:
    """The answer to one question: what was asked, how many of how many, and what is missing."""

    what: str
    good: int
    of: int
    missing: tuple[tuple[str, str], ...] = ()
    """(container or object, why) for each that falls short."""

    @property
    def ok(self) -> bool:
        """Nothing is missing, and something was there to be asked."""
        return self.good == self.of and self.of > 0

    def __str__(self) -> str:
        return f"{self.what} {self.good} of {self.of}"


Containers = Mapping[str, Mapping[str, Any]]
"""What the engine says of each container, by name."""

Missing = Iterable[tuple[str, str]]
"""(container or object, why) for each that falls short."""

Question = Callable[[Live, Containers], Verdict]


def question(what: str, of: str) -> Callable[[Callable[[Live, Containers], tuple[int, Missing]]], Question]:
    """Makes a question of a function that returns how many there are, and which of them fall short.

    ``of`` is who is asked, and is named where nobody answers: a NotYet is a verdict, and never raised.
    """

    def made(ask: Callable[[Live, Containers], tuple[int, Missing]]) -> Question:
        @functools.wraps(ask)
        def answered(live: Live, found: Containers) -> Verdict:
            try:
                total, missing = ask(live, found)
            except NotYet as reason:
                return Verdict(what, 0, 1, ((of, str(reason)),))
            short = tuple(missing)
            return Verdict(what, max(total - len(short), 0), total, short)

        return answered

    return made


def since(found: Containers, seconds: float, *names: str) -> float:
    """Unix time from which on something is live: so long ago, or since the last start of what it came through."""
    return max([time.time() - seconds, *(engine.started(found[name]) for name in names if name in found)])


def without(wanted: Iterable[str], seen: Iterable[str], why: str) -> tuple[int, Missing]:
    """How many were wanted, and those of them that were not seen."""
    wanted, seen = list(wanted), set(seen)
    return len(wanted), [(name, why) for name in wanted if name not in seen]
