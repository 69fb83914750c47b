"""Circuit breakers, one for each dependency, with their state as a metric.

States and their changes are purgatory's. Around it is what it leaves to others: in a half-open circuit one call tries
at a time, a call of which nobody knows how it would have ended counts for nothing, and the state is told as it is now.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from purgatory import SyncCircuitBreakerFactory
from purgatory.domain.model import CLOSED, HALF_OPENED, OPENED, OpenedState

from telemetry import faults
from telemetry.errors import CircuitOpen, DependencyError, Unwritable
from telemetry.metrics import Metrics

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 5.0
STATES: dict[str, int] = {CLOSED: 0, HALF_OPENED: 1, OPENED: 2}


class Call:
    """A call that was let through. What is told of it first counts, and nothing else."""

    def __init__(self, circuit: "_Circuit") -> None:
        self._circuit = circuit
        self._told = False
        self.goes_on = False

    def begun(self) -> None:
        """The answer has begun; ``ended`` is told later. Enough to close a half-open circuit: a stream may be long."""
        self.goes_on = True
        self._circuit.begun(self)

    def ended(self, error: DependencyError | None = None) -> None:
        """The dependency did its part, or failed with ``error``."""
        if not self._told:
            self._told = True
            self._circuit.ended(self, error)

    def forgotten(self) -> None:
        """Nobody knows what the dependency would have done: neither a success nor a failure."""
        self._told = True
        self._circuit.let_go(self)


class Breakers:
    """Opens after FAILURES_TO_OPEN failures in a row; after OPEN_SECONDS it is half open, and one call may try."""

    def __init__(self, metrics: Metrics, open_seconds: float = OPEN_SECONDS) -> None:
        self._state = metrics.gauge(
            "circuit_breaker_state",
            "State of the circuit breaker: 0 closed, 1 half open, 2 open.",
            ["dependency"],
        )
        self._open_seconds = open_seconds
        self._circuits: dict[str, _Circuit] = {}

    def declare(self, dependency: str) -> None:
        """Show ``dependency`` as closed from the start."""
        self._circuit(dependency)
        faults.declare(dependency)

    @contextmanager
    def guard(self, dependency: str) -> Iterator[Call]:
        """Run a call; a DependencyError in it is a failure, one that is cancelled is neither that nor a success.

        It ends with the block, unless it was told that it has ``begun``.
        Raises CircuitOpen instead where it is open, or half open and another call tries.
        """
        call = self._circuit(dependency).call()
        try:
            faults.reach(dependency)
            yield call
        except DependencyError as error:
            # It can still be read, and what makes room in one that is full must get through.
            call.ended(None if isinstance(error, Unwritable) else error)
            raise
        except Exception:
            # Such as an SQL error: it refuses, so it is there.
            call.ended()
            raise
        except BaseException:
            call.forgotten()
            raise
        if not call.goes_on:
            call.ended()

    def _circuit(self, dependency: str) -> "_Circuit":
        if dependency not in self._circuits:
            circuit = self._circuits[dependency] = _Circuit(dependency, self._open_seconds)
            # Asked at each scrape: an open circuit becomes half open by time alone.
            self._state.labels(dependency).set_function(circuit.state)
        return self._circuits[dependency]


class _Circuit:
    """The circuit of one dependency."""

    def __init__(self, dependency: str, open_seconds: float) -> None:
        self._dependency = dependency
        # Not its asynchronous twin: in memory nothing waits, and an await can be cancelled.
        self._breaker = SyncCircuitBreakerFactory(FAILURES_TO_OPEN, open_seconds).get_breaker(dependency)
        self._trying: Call | None = None

    def state(self) -> int:
        """What STATES says of it now; the library sees that the time is over at the next call only."""
        context = self._breaker.context
        over = context.opened_at is not None and time.time() > context.opened_at + context.ttl
        return STATES[HALF_OPENED if over else context.state]

    def call(self) -> Call:
        """Let a call through. Raises CircuitOpen."""
        if self._trying is not None:
            raise CircuitOpen(self._dependency, "circuit breaker is half open, and another call tries")
        try:
            self._breaker.__enter__()
        except OpenedState as error:
            # The library raises one exception object again and again; its traceback would grow with each.
            error.__traceback__ = None
            raise CircuitOpen(self._dependency, "circuit breaker is open") from None
        call = Call(self)
        if self._breaker.context.state == HALF_OPENED:
            self._trying = call
        return call

    def begun(self, call: Call) -> None:
        """What a call that tries had to show is shown."""
        if call is self._trying:
            self.ended(call, None)

    def ended(self, call: Call, error: DependencyError | None) -> None:
        """Count the end of a call."""
        # Of a circuit that is not closed the call that tries decides alone: others began before it opened.
        if call is self._trying or self._breaker.context.state == CLOSED:
            self._breaker.__exit__(type(error) if error else None, error, None)
        self.let_go(call)

    def let_go(self, call: Call) -> None:
        """Where it was this call that tried, another one may."""
        if call is self._trying:
            self._trying = None
