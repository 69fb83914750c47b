"""The kinds of faults, and the bounds of what can be asked of each."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_SECONDS = 1800.0
"""A fault that is forgotten is over after half an hour."""


class BadFault(ValueError):
    """What is asked for cannot be; the message says what can."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number within bounds; without a ``default`` it must be given."""

    minimum: float
    maximum: float
    unit: str
    default: float | None = None

    def check(self, name: str, value: Any) -> float:
        """The value, or the default for None. Raises BadFault."""
        if value is None and self.default is not None:
            return self.default
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.minimum <= value <= self.maximum:
            bounds = f"a number from {self.minimum:g} to {self.maximum:g} ({self.unit})"
            raise BadFault(f"{name} is required: {bounds}" if value is None else f"{name} is {value!r}: give {bounds}")
        return float(value)


SHARE = Parameter(0.01, 1, "share of requests", 1)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fault does; ``hooked`` where a service must have a place for it in its code."""

    does: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    names_dependency: bool = False
    hooked: bool = False


KINDS: Mapping[str, Kind] = {
    "errors": Kind("requests are answered 500", {"share": SHARE}),
    "delay": Kind(
        "requests wait before they are handled",
        {"delay": Parameter(0.001, 120, "seconds"), "share": SHARE},
    ),
    "unreachable": Kind("calls to a dependency, and its health check, fail", names_dependency=True),
    "memory": Kind("the process grows, evenly for half of the time", {"mebibytes": Parameter(1, 256, "MiB")}),
    "cpu": Kind("a thread keeps a core busy", {"share": Parameter(0.01, 1, "share of one core", 1)}),
    "crash": Kind("the process exits at once, with 1"),
    "queue_stall": Kind("workers take no more jobs", hooked=True),
    "bad_signatures": Kind("signatures of webhooks are found wrong", {"share": SHARE}, hooked=True),
    "tool_failure": Kind("tools raise an exception", {"share": SHARE}, hooked=True),
    "token_burn": Kind("models are billed many times the tokens", {"factor": Parameter(2, 1000, "times")}, hooked=True),
}


def suggestion(word: object, known: Collection[str]) -> str:
    """What may have been meant instead of ``word``, else all that is known."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f'did you mean "{close[0]}"?' if close else "known are: " + ", ".join(sorted(known))
