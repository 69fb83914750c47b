"""Runs sagas to their end, also those that another orchestrator, or a former life of this one, has left."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from opentelemetry.trace import SpanKind

from saga_orchestrator.saga import COMPENSATED, COMPLETED, FAILED, OUTCOMES, Saga, SagaTaken, Step, StepFailed, Store
from telemetry import DependencyError, Telemetry, get_logger, ids, tracing
from telemetry.work import carried

TRIES = 4
FIRST_PAUSE_SECONDS = 0.25
"""Before the second try of a compensation; doubled before each of the others."""
SAVE_SECONDS = 8.0
LOOK_SECONDS = 1.0
MAX_RESUMED = 10
MAX_BROKE = 5
"""How often a saga may break otherwise than by a refusal or a dependency before it is given up."""
BROKE = "it broke"
"""What clients are told of that; the log says more."""
log = get_logger("saga_orchestrator.engine")


class Sagas:
    """Runs sagas of the kinds that it was given, and counts them."""

    def __init__(self, telemetry: Telemetry, store: Store, kinds: Mapping[str, Sequence[Step]]) -> None:
        self._store = store
        self._kinds = kinds
        self._tracer = telemetry.tracing.tracer
        metrics = telemetry.metrics
        self._transactions = metrics.counter("saga_transactions_total", "Sagas by outcome.", ["saga", "outcome"])
        self._seconds = metrics.histogram("saga_duration_seconds", "Duration of sagas.", ["saga"])
        self._steps = metrics.counter("saga_step_total", "Steps by outcome.", ["saga", "step", "outcome"])
        self._compensations = metrics.counter(
            "saga_compensations_total", "Compensations by outcome.", ["saga", "step", "outcome"]
        )
        self._resumed = metrics.counter("saga_resumed_total", "Sagas that were left and taken up again.", ["saga"])
        self._in_flight = metrics.gauge("saga_in_flight", "Sagas under way, in all orchestrators.")
        self._dead = metrics.gauge("saga_dead", "Sagas that cannot be read, and were set aside.")
        self._in_hand: set[str] = set()
        for kind, steps in kinds.items():
            self._resumed.labels(kind)
            self._seconds.labels(kind)
            for outcome in OUTCOMES:
                self._transactions.labels(kind, outcome)
            for step in steps:
                for outcome in ("success", "failure"):
                    self._steps.labels(kind, step.name, outcome)
                    if step.compensate is not None:
                        self._compensations.labels(kind, step.name, outcome)
        telemetry.before_scrape(self._measure)

    async def run(self, kind: str, given: dict[str, Any]) -> Saga:
        """Begin a saga on behalf of the running request, and run it to its end.

        It has no outcome yet where another orchestrator has taken it over, or where it broke and is tried again later.
        Raises DependencyError where it cannot be begun, or not be ended now: then it is gone on with later.
        """
        saga = Saga(uuid.uuid4().hex, kind, given, carried(), time.time())
        await self._store.begin(saga)
        try:
            await self._run(saga, again=False)
        except SagaTaken:
            log.warning("saga was taken over", saga=kind, id=saga.id)
            saga.outcome = None
        except DependencyError:
            raise
        except Exception as error:
            await self._broke(saga, error)
        return saga

    async def resume(self) -> None:
        """Until cancelled: keep in hand what is under way, take up what was left."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    await self._store.renew(list(self._in_hand))
                    while len(tasks) < MAX_RESUMED and (saga := await self._store.claim()) is not None:
                        if saga.id in self._in_hand:
                            # Redis was away for longer than the lease, and this has gone on with it.
                            continue
                        task = asyncio.create_task(self._resume(saga))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                        task.add_done_callback(_look_at)
                except DependencyError as error:
                    log.warning("sagas cannot be looked for", error=str(error))
                except Exception as error:
                    log.error("sagas cannot be looked for", exc_info=error)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _resume(self, saga: Saga) -> None:
        headers = saga.headers
        bound = ids.accept(headers.get(ids.REQUEST_HEADER), headers.get(ids.CORRELATION_HEADER))
        with (
            ids.bound(bound),
            self._tracer.start_as_current_span(
                f"saga resumed {saga.kind}",
                context=tracing.extract(headers),
                kind=SpanKind.CONSUMER,
                # Seldom, and worth a look.
                attributes={tracing.KEEP: True, "lookout.correlation_id": bound.correlation},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            self._resumed.labels(saga.kind).inc()
            log.warning("saga is resumed", saga=saga.kind, id=saga.id, done=list(saga.outputs), undo=saga.undo)
            try:
                await self._run(saga, again=True)
            except (DependencyError, SagaTaken) as error:
                tracing.fail(span, "still_open")
                log.warning("saga stays open", saga=saga.kind, id=saga.id, reason=str(error))
            except Exception as error:
                tracing.fail(span, "broke")
                await self._broke(saga, error)

    async def _broke(self, saga: Saga, error: Exception) -> None:
        """It is tried again when its lease ends, but not for ever. Raises nothing."""
        saga.outcome = None
        saga.broke += 1
        if saga.broke < MAX_BROKE and saga.kind in self._kinds:
            log.warning("saga broke", saga=saga.kind, id=saga.id, broke=saga.broke, exc_info=error)
        else:
            saga.outcome, saga.reason = FAILED, saga.reason or BROKE
        try:
            await self._save(saga)
        except Exception as unsaved:
            saga.outcome = None
            log.warning("saga stays open", saga=saga.kind, id=saga.id, reason=str(unsaved))
            return
        if saga.outcome is not None:
            self._count(saga, error)

    async def _run(self, saga: Saga, again: bool) -> None:
        self._in_hand.add(saga.id)
        try:
            steps = self._kinds[saga.kind]
            if saga.undo is None:
                await self._forward(saga, steps, again)
            if saga.undo is not None:
                await self._back(saga, steps)
            saga.outcome = COMPLETED if saga.undo is None else FAILED if saga.left else COMPENSATED
            await self._save(saga)
        except asyncio.CancelledError:
            # Shutdown: whoever comes next need not wait for the lease to end.
            await self._release(saga)
            raise
        finally:
            self._in_hand.discard(saga.id)
        self._count(saga)

    def _count(self, saga: Saga, error: Exception | None = None) -> None:
        self._transactions.labels(saga.kind, saga.outcome).inc()
        seconds = time.time() - saga.started_at
        self._seconds.labels(saga.kind).observe(seconds)
        write = log.error if saga.outcome == FAILED else log.info
        write(
            "saga", saga=saga.kind, id=saga.id, outcome=saga.outcome, duration_seconds=round(seconds, 6), exc_info=error
        )

    async def _forward(self, saga: Saga, steps: Sequence[Step], again: bool) -> None:
        for step in steps:
            if step.name in saga.outputs:
                continue
            try:
                output = await self._act(saga, step, again)
            except Exception as error:
                self._steps.labels(saga.kind, step.name, "failure").inc()
                reason = _reason(error)
                log.warning("saga step failed", saga=saga.kind, id=saga.id, step=step.name, **reason)
                known = isinstance(error, StepFailed)
                if step.compensate is None and not known:
                    raise
                saga.failed_step, saga.reason = step.name, reason["reason"]
                saga.undo = [*saga.outputs] if known else [*saga.outputs, step.name]
                await self._save(saga)
                return
            self._steps.labels(saga.kind, step.name, "success").inc()
            saga.outputs[step.name] = output
            # The outcome of the last step is saved with that of the saga.
            if step is not steps[-1]:
                await self._save(saga)
            again = False

    async def _act(self, saga: Saga, step: Step, again: bool) -> Any:
        if step.compensate is None:
            # It must go forward: nothing could make up for it.
            return await self._insist(f"saga step {step.name}", lambda: step.act(saga, again), (StepFailed,))
        return await self._span(f"saga step {step.name}", lambda: step.act(saga, again))

    async def _back(self, saga: Saga, steps: Sequence[Step]) -> None:
        """Compensate all, last first, also after one that failed."""
        assert saga.undo is not None
        compensations = {step.name: step.compensate for step in steps}
        while saga.undo:
            name = saga.undo[-1]
            try:
                compensate = compensations[name]
                assert compensate is not None
                await self._insist(f"saga compensation {name}", lambda c=compensate: c(saga), ())  # type: ignore[misc]
            except Exception as error:
                self._compensations.labels(saga.kind, name, "failure").inc()
                log.error("saga compensation failed", saga=saga.kind, id=saga.id, step=name, **_reason(error))
                saga.left.append(name)
            else:
                self._compensations.labels(saga.kind, name, "success").inc()
            saga.undo.pop()
            await self._save(saga)

    async def _insist(self, name: str, action: Callable[[], Awaitable[Any]], final: tuple[type[Exception], ...]) -> Any:
        """Try TRIES times, with pauses that grow; what is ``final`` is raised at once."""
        for number in range(TRIES):
            try:
                return await self._span(name, action)
            except Exception as error:
                if isinstance(error, final) or number == TRIES - 1:
                    raise
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**number)
        raise AssertionError("unreachable")

    async def _span(self, name: str, action: Callable[[], Awaitable[Any]]) -> Any:
        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                return await action()
            except Exception:
                tracing.fail(span, "step_failed")
                raise

    async def _save(self, saga: Saga) -> None:
        """Keep what was done; raises DependencyError where that fails for SAVE_SECONDS."""
        deadline = time.monotonic() + SAVE_SECONDS
        while True:
            try:
                await self._store.save(saga)
                return
            except DependencyError as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("saga is not saved yet", saga=saga.kind, id=saga.id, error=str(error))
                await asyncio.sleep(FIRST_PAUSE_SECONDS)

    async def _release(self, saga: Saga) -> None:
        try:
            await self._store.release(saga.id)
        except DependencyError as error:
            log.warning("saga is not released", saga=saga.kind, id=saga.id, error=str(error))

    async def _measure(self) -> None:
        self._in_flight.set(await self._store.open())
        self._dead.set(await self._store.dead())


def _look_at(task: asyncio.Task[None]) -> None:
    """What nobody waits for fails unseen otherwise."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("saga cannot be resumed", exc_info=error)


def _reason(error: Exception) -> dict[str, Any]:
    """Fields of a log line; a mistake has its trace with it."""
    if isinstance(error, StepFailed | DependencyError):
        return {"reason": str(error)}
    return {"reason": BROKE, "exc_info": error}
