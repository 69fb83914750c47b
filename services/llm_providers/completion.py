"""What a provider answers, in one shape for all of them, and what each one's API must be able to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that are billed."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    text: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event of a stream adds: some text, token counts that are known now, whether it was the last."""

    text: str = ""
    input: int | None = None
    output: int | None = None
    last: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of a limit is left, from the headers of an answer; ``kind`` is requests or tokens."""

    kind: str
    remaining: float


class Dialect(Protocol):
    """The HTTP API of a provider. Methods that read raise KeyError, TypeError or ValueError on nonsense."""

    @property
    def path(self) -> str:
        """Path under the base URL of the provider."""

    def headers(self, key: str) -> dict[str, str]:
        """Headers of a request, the key among them."""

    def body(self, model: str, message: str, stream: bool) -> dict[str, Any]:
        """Body of a request with one message of the user."""

    def completion(self, answer: Mapping[str, Any]) -> Completion:
        """The completion in the body of an answer."""

    def delta(self, data: str) -> Delta:
        """What the data of one server-sent event adds. Raises StreamError for an event that reports one."""

    def limits(self, headers: Mapping[str, str]) -> list[Limit]:
        """What the headers say of the limits; empty where they say nothing."""


class StreamError(Exception):
    """An error that a provider reports inside of a stream."""


def limits_of(headers: Mapping[str, str], names: Mapping[str, str]) -> list[Limit]:
    """Limits from ``names``: kind → header; headers that are absent or no number are left out."""
    found = []
    for kind, name in names.items():
        try:
            found.append(Limit(kind, float(headers[name])))
        except (KeyError, ValueError):
            continue
    return found
