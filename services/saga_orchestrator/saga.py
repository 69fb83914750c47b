"""A saga: named steps, each with its compensation, and what was done of them. Knows nothing of HTTP and orders."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

COMPLETED, COMPENSATED, FAILED = "completed", "compensated", "failed"
OUTCOMES = (COMPLETED, COMPENSATED, FAILED)


class StepFailed(Exception):
    """A step or a compensation was refused, so it was not done; the message says why."""


class SagaTaken(Exception):
    """Another orchestrator goes on with this saga: leave it alone."""


class SagaUnreadable(Exception):
    """What is stored of a saga is not ours, or of another version; the message says why."""


@dataclass(slots=True)
class Saga:
    """One saga under way; all of it is stored after each step.

    ``outputs`` holds what the steps that were done gave, by their names; ``undo`` the steps that are to be
    compensated, in the order of their doing, once one has failed; ``left`` those whose compensation failed.
    ``broke`` counts how often it ended otherwise than by a refusal or a dependency, and was left open. ``headers``
    carry trace and ids of the request that began it; ``started_at`` is in Unix seconds.
    """

    id: str
    kind: str
    input: dict[str, Any]
    headers: dict[str, str]
    started_at: float
    outputs: dict[str, Any] = field(default_factory=dict)
    undo: list[str] | None = None
    left: list[str] = field(default_factory=list)
    failed_step: str | None = None
    reason: str | None = None
    outcome: str | None = None
    broke: int = 0

    def body(self) -> dict[str, Any]:
        """For the client."""
        return {
            "id": self.id,
            "saga": self.kind,
            "outcome": self.outcome or "under way",
            "failed_step": self.failed_step,
            "reason": self.reason,
        }


Act = Callable[[Saga, bool], Awaitable[Any]]
Compensate = Callable[[Saga], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Step:
    """Both calls raise StepFailed where they were refused; anything else, such as DependencyError, leaves that unknown.

    ``act(saga, again)`` gives what ``compensate`` needs to know; ``again`` says that it may have been done before.
    A step that fails without it being known whether it was done is compensated too, so ``compensate`` must cope
    with what was never done. A step without ``compensate`` is the last one, and is tried until it is known.
    """

    name: str
    act: Act
    compensate: Compensate | None


class Store(Protocol):
    """Where sagas are kept. All raise DependencyError where it is away; a saga in hand is one's own for a while."""

    async def begin(self, saga: Saga) -> None:
        """Keep a new saga, in hand."""

    async def save(self, saga: Saga) -> None:
        """Keep what was done, for as long as a saga with an outcome is kept. Raises SagaTaken."""

    async def renew(self, sagas: list[str]) -> None:
        """Keep these in hand."""

    async def release(self, saga: str) -> None:
        """Let another go on."""

    async def claim(self) -> Saga | None:
        """Take one in hand that nobody has; one that cannot be read is set aside, once and for all."""

    async def load(self, saga: str) -> Saga | None:
        """A saga, None where it is unknown or forgotten. Raises SagaUnreadable."""

    async def open(self) -> int:
        """How many sagas have no outcome yet."""

    async def dead(self) -> int:
        """How many sagas were set aside."""
