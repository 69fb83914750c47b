"""A saga: named steps, each with its compensation. Knows nothing of HTTP and orders."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from telemetry import DependencyError, Telemetry, get_logger, tracing

OUTCOMES = ("completed", "compensated", "failed")
log = get_logger("saga_orchestrator.saga")


class StepFailed(Exception):
    """A step or a compensation was refused; the message says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """Both calls raise StepFailed or DependencyError; ``compensate`` runs only where ``act`` was done."""

    name: str
    act: Callable[[], Awaitable[None]]
    compensate: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a saga ended: completed, compensated, or failed where a compensation failed too."""

    outcome: str
    failed_step: str | None = None
    reason: str | None = None


class Sagas:
    """Runs sagas and counts them."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._tracer = telemetry.tracing.tracer
        metrics = telemetry.metrics
        self._transactions = metrics.counter("saga_transactions_total", "Sagas by outcome.", ["saga", "outcome"])
        self._seconds = metrics.histogram("saga_duration_seconds", "Duration of sagas.", ["saga"])
        self._steps = metrics.counter("saga_step_total", "Steps by outcome.", ["saga", "step", "outcome"])
        self._compensations = metrics.counter(
            "saga_compensations_total", "Compensations by outcome.", ["saga", "step", "outcome"]
        )
        self._in_flight = metrics.gauge("saga_in_flight", "Sagas under way.")

    def declare(self, saga: str, steps: list[str]) -> None:
        """Show all counters of ``saga`` at 0, so that the first failure is an increase."""
        for outcome in OUTCOMES:
            self._transactions.labels(saga, outcome)
        for step in steps:
            for outcome in ("success", "failure"):
                self._steps.labels(saga, step, outcome)
                self._compensations.labels(saga, step, outcome)

    async def run(self, saga: str, steps: list[Step]) -> Outcome:
        """Run the steps in order; after a failure compensate those that were done, last first."""
        start = time.perf_counter()
        with self._in_flight.track_inprogress():
            outcome = await self._run(saga, steps)
        self._transactions.labels(saga, outcome.outcome).inc()
        self._seconds.labels(saga).observe(time.perf_counter() - start)
        return outcome

    async def _run(self, saga: str, steps: list[Step]) -> Outcome:
        done: list[Step] = []
        for step in steps:
            reason = await self._try(f"saga step {step.name}", step.act)
            self._steps.labels(saga, step.name, "success" if reason is None else "failure").inc()
            if reason is not None:
                log.warning("saga step failed", saga=saga, step=step.name, reason=reason)
                undone = await self._compensate(saga, done)
                return Outcome("compensated" if undone else "failed", step.name, reason)
            done.append(step)
        return Outcome("completed")

    async def _compensate(self, saga: str, done: list[Step]) -> bool:
        """Compensate all, also after one that failed; whether every one was done."""
        all_done = True
        for step in reversed(done):
            reason = await self._try(f"saga compensation {step.name}", step.compensate)
            self._compensations.labels(saga, step.name, "success" if reason is None else "failure").inc()
            if reason is not None:
                log.error("saga compensation failed", saga=saga, step=step.name, reason=reason)
                all_done = False
        return all_done

    async def _try(self, name: str, action: Callable[[], Awaitable[None]]) -> str | None:
        """Reason of the failure; None where there was none."""
        with self._tracer.start_as_current_span(name) as span:
            try:
                await action()
            except (StepFailed, DependencyError) as error:
                tracing.fail(span, "step_failed")
                return str(error)
        return None
