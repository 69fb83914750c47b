"""What the API of a provider looks like from outside: keys, bodies, events, errors, headers of the limits."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from simulators.budget import Budget


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to one request; ``chunks`` put together are ``text``."""

    id: str
    model: str
    chunks: tuple[str, ...]
    input_tokens: int
    output_tokens: int

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.chunks)


class Shape(Protocol):
    """One API. ``refusals``: kind (unauthorized, invalid, throttled, failed, overloaded) → HTTP status."""

    refusals: Mapping[str, int]

    def key(self, headers: Mapping[str, str]) -> str:
        """The key that the request carries; empty where it carries none."""

    def missing(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
        """What this API requires beside model and messages and the request lacks."""

    def refusal(self, kind: str, message: str) -> dict[str, Any]:
        """Body of an error."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Body of an answer at once."""

    def events(self, answer: Answer) -> Iterator[str]:
        """Server-sent events of a streamed answer; each chunk of the answer is in one of its own."""

    def limits(self, budget: Budget) -> dict[str, str]:
        """Headers that tell what is left."""


def bearer(headers: Mapping[str, str]) -> str:
    """The key of an Authorization header."""
    return headers.get("authorization", "").removeprefix("Bearer ")


def event(data: Mapping[str, Any] | str, name: str | None = None) -> str:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return (f"event: {name}\n" if name else "") + f"data: {text}\n\n"
