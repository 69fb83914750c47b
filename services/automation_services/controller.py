"""Takes jobs from the queues and has them done, a bounded number at a time, until each has come to its end."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from automation_services.jobs import FINAL, KINDS, MAX_RESULT, SLOTS, Delivery, Job, Queue, dumps
from automation_services.work import WorkFailed
from telemetry import DependencyError, Telemetry, faults, get_logger
from telemetry.work import Running, Work, carried

Handler = Callable[[Job], Awaitable[Any]]
MAX_DELIVERIES = 5
GIVE_UP_SECONDS = 900.0
BEAT_SECONDS = 2.0
RETRY_SECONDS = 0.5
DRAIN_SECONDS = 4.0
"""Time for jobs in hand at shutdown; with 3 s for requests and 2 s for spans it stays below the 10 s of Docker."""
POLL_SECONDS = 0.5
QUEUE_STALL = faults.hook("queue_stall")
T = TypeVar("T")
log = get_logger("automation_services.controller")


class Controller:
    """A handler raises WorkFailed for what cannot be worked on: that is the job's end.

    After a DependencyError the job is delivered again until it is GIVE_UP_SECONDS old: it is not the job's fault.
    After anything else, also the end of the process, it is delivered MAX_DELIVERIES times in all. Then it is dead.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        queue: Queue,
        handlers: Mapping[str, Handler],
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._queue = queue
        self._handlers = handlers
        self._drain_seconds = drain_seconds
        self._work = Work(telemetry, SLOTS, KINDS)
        for name in SLOTS:
            self._work.measure(name, self._depth_of(name))
        self._in_hand: dict[str, tuple[float, Delivery]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._stopping = asyncio.Event()
        self._away = False

    async def submit(self, kind: str, name: str, content: str, job: str | None = None) -> tuple[str, bool]:
        """Queue a job on behalf of the running request; its id, and whether it is new. Raises QueueFull, JobTooLong."""
        made = Job(job or uuid.uuid4().hex, kind, name, content, time.time(), carried())
        return made.id, await self._queue.put(made)

    async def wait(self, job: str, seconds: float) -> dict[str, Any] | None:
        """The state of a job once it has ended, or after ``seconds``."""
        deadline = time.monotonic() + seconds
        ended = self._ended.setdefault(job, asyncio.Event())
        try:
            while True:
                state = await self._queue.state(job)
                left = deadline - time.monotonic()
                if state is None or state["state"] in FINAL or left <= 0:
                    return state
                # The event comes where this process does the job; where another does, the state is asked again.
                try:
                    async with asyncio.timeout(min(left, POLL_SECONDS)):
                        await ended.wait()
                except TimeoutError:
                    continue
        finally:
            self._ended.pop(job, None)

    async def run(self) -> None:
        """Work until cancelled; then finish what is in hand, or hand it back."""
        self._stopping.clear()
        await self._prepare()
        tasks = [asyncio.create_task(self._slot(name)) for name, slots in SLOTS.items() for _ in range(slots)]
        tasks.append(asyncio.create_task(self._beat()))
        try:
            # Unlike gather, wait leaves the tasks alone when it is cancelled itself.
            await asyncio.wait(tasks)
        finally:
            self._stopping.set()
            _, late = await asyncio.wait(tasks, timeout=self._drain_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            log.info("jobs are drained", handed_back=len(late))

    async def _prepare(self) -> None:
        for name in SLOTS:
            while True:
                try:
                    await self._queue.prepare(name)
                    break
                except DependencyError as error:
                    self._is_away(error)
                    await self._pause()

    async def _slot(self, name: str) -> None:
        while not self._stopping.is_set():
            try:
                await QUEUE_STALL.wait()
                delivery = await self._queue.take(name)
                self._is_back()
                if delivery is not None:
                    await self._handle(delivery)
            except DependencyError as error:
                self._is_away(error)
                await self._pause()
            except Exception as error:
                log.error("queue cannot be read", queue=name, exc_info=error)
                await self._pause()

    async def _handle(self, delivery: Delivery) -> None:
        job = delivery.job
        if self._stopping.is_set():
            await self._queue.hand_back(delivery)
            return
        self._in_hand[delivery.token] = time.monotonic(), delivery
        try:
            with self._work.job(job.queue, job.kind, job.id, job.headers, job.queued_at, delivery.count) as running:
                await self._do(delivery, running)
        except asyncio.CancelledError:
            # Too late to be waited for: whoever takes it next begins anew.
            await self._give_back(delivery)
            raise
        finally:
            del self._in_hand[delivery.token]

    async def _do(self, delivery: Delivery, running: Running) -> None:
        job = delivery.job
        if delivery.count > MAX_DELIVERIES:
            await self._end(delivery, running, "dead", f"given up after {MAX_DELIVERIES} deliveries")
            return
        state = await self._persist(lambda: self._queue.state(job.id))
        if state is not None and state["state"] == "cancelled":
            await self._end(delivery, running, "cancelled")
            return
        try:
            result = await self._handlers[job.kind](job)
        except WorkFailed as error:
            await self._end(delivery, running, "failed", str(error), {"reason": str(error)} | error.details)
        except DependencyError as error:
            if time.time() - job.queued_at > GIVE_UP_SECONDS:
                await self._end(delivery, running, "dead", f"given up after {GIVE_UP_SECONDS:g} s: {error}")
                return
            running.end("retried", str(error))
            await self._give_back(delivery, at_once=False)
        except Exception as error:
            # Not acknowledged, so it comes again once it counts as let go: that is the pause before the next try.
            running.end("retried", f"{type(error).__name__}: {error}")
            log.warning("job broke", job=job.id, kind=job.kind, exc_info=error)
        else:
            await self._end(delivery, running, "succeeded", None, result)

    async def _end(
        self, delivery: Delivery, running: Running, state: str, reason: str | None = None, result: Any = None
    ) -> None:
        if result is None and reason is not None:
            result = {"reason": reason}
        if len(dumps(result).encode()) > MAX_RESULT:
            # Results are kept for a while, and memory is bounded.
            state = "failed" if state == "succeeded" else state
            reason = f"the result is longer than {MAX_RESULT} bytes" if reason is None else reason[:500]
            result = {"reason": reason}
        counts = await self._persist(lambda: self._queue.finish(delivery, state, result))
        running.end(counts, reason)
        if (waiting := self._ended.get(delivery.job.id)) is not None:
            waiting.set()

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the queue until it answers: what is in hand is worth waiting. At shutdown the drain ends this."""
        while True:
            try:
                return await ask()
            except DependencyError as error:
                self._is_away(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _give_back(self, delivery: Delivery, at_once: bool = True) -> None:
        try:
            await self._queue.hand_back(delivery, at_once)
        except DependencyError as error:
            # Still its own: delivered again at the next start, or to another after a while.
            log.warning("job is not handed back", job=delivery.job.id, error=str(error))

    async def _beat(self) -> None:
        while not await self._pause(BEAT_SECONDS):
            long_ago = time.monotonic() - BEAT_SECONDS
            old = [delivery for since, delivery in self._in_hand.values() if since < long_ago]
            try:
                await self._queue.beat(old)
            except DependencyError as error:
                self._is_away(error)

    def _is_away(self, error: DependencyError) -> None:
        """One line for an outage, however many slots meet it."""
        if not self._away:
            self._away = True
            log.warning("queue is not reachable", error=str(error))

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            log.info("queue is reachable again")

    async def _pause(self, seconds: float = 1.0) -> bool:
        """Sleep, unless shutdown begins; whether it has begun."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _depth_of(self, name: str) -> Callable[[], Awaitable[int]]:
        return lambda: self._queue.depth(name)
