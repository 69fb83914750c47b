"""Circuit breakers, one for each dependency, with their state as a metric."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from telemetry import faults
from telemetry.errors import CircuitOpen, DependencyError, Full
from telemetry.metrics import Metrics

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 5.0
STATES = {"closed": 0, "half-opened": 1, "opened": 2}


class Breakers:
    """Opens after FAILURES_TO_OPEN failures in a row, lets a request try again after OPEN_SECONDS."""

    def __init__(self, metrics: Metrics, open_seconds: float = OPEN_SECONDS) -> None:
        self._state = metrics.gauge(
            "circuit_breaker_state",
            "State of the circuit breaker: 0 closed, 1 half open, 2 open.",
            ["dependency"],
        )
        self._factory = AsyncCircuitBreakerFactory(
            default_threshold=FAILURES_TO_OPEN,
            default_ttl=open_seconds,
            # What is full can still be read, and what makes room must get through.
            exclude=[(BaseException, lambda error: not isinstance(error, DependencyError) or isinstance(error, Full))],
        )

    def declare(self, dependency: str) -> None:
        """Show ``dependency`` as closed from the start."""
        self._state.labels(dependency).set(STATES["closed"])
        faults.declare(dependency)

    @asynccontextmanager
    async def guard(self, dependency: str) -> AsyncIterator[None]:
        """Run a call; a DependencyError in it is a failure, one that is cancelled is neither that nor a success.

        Raises CircuitOpen instead where it is open.
        """
        breaker = await self._factory.get_breaker(dependency)
        try:
            async with AsyncExitStack() as call:
                await call.enter_async_context(breaker)
                faults.reach(dependency)
                try:
                    yield
                except asyncio.CancelledError:
                    # Nobody knows how the call would have ended, so the library, to which it is a success, is not told.
                    call.pop_all()
                    raise
        except OpenedState as error:
            # The library raises one exception object again and again; its traceback would grow with each.
            error.__traceback__ = None
            raise CircuitOpen(dependency, "circuit breaker is open") from None
        finally:
            self._state.labels(dependency).set(STATES[breaker.context.state])
