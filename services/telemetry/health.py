"""Health: named checks of real connectivity, run together, each with its own timeout and a short cache."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry import faults, masking
from telemetry.logs import get_logger
from telemetry.metrics import Metrics

TIMEOUT_SECONDS = 1.0
CACHE_SECONDS = 2.0
MAX_ERROR = 200
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Probe = Callable[[], Awaitable[object]]
log = get_logger("telemetry.health")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one check; ``error`` is None where the dependency is up."""

    latency_seconds: float
    error: str | None

    def body(self) -> dict[str, Any]:
        """For the JSON body of /health."""
        found: dict[str, Any] = {
            "status": "up" if self.error is None else "down",
            "latency_seconds": round(self.latency_seconds, 6),
        }
        if self.error is not None:
            found["error"] = self.error
        return found


class Check:
    """One dependency; concurrent callers share a probe, and its outcome is kept for ``cache`` seconds.

    ``timeout`` in seconds, at most TIMEOUT_SECONDS. A probe that does not end when it is cancelled is left alone, and
    no other begins before it has ended: it costs neither time nor ever more tasks.
    """

    def __init__(self, name: str, probe: Probe, timeout: float = TIMEOUT_SECONDS, cache: float = CACHE_SECONDS) -> None:
        self.name = name
        self._probe = probe
        self._timeout = min(timeout, TIMEOUT_SECONDS)
        self._cache = cache
        self._asking: asyncio.Task[Outcome] | None = None
        self._probing: asyncio.Task[object] | None = None
        self._last: Outcome | None = None
        self._at = 0.0

    async def run(self) -> Outcome:
        """The outcome, at most ``cache`` seconds old; never raises, never takes longer than the timeout."""
        if self._last is not None and time.monotonic() - self._at < self._cache:
            return self._last
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        # Shielded: the caller's client may go away, the other callers still want the answer.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Outcome:
        start = time.perf_counter()
        if self._probing is not None and not self._probing.done():
            error: str | None = "no answer, and the check before has not ended yet"
        else:
            self._probing = asyncio.create_task(self._reach())
            await asyncio.wait({self._probing}, timeout=self._timeout)
            error = self._error(self._probing)
        before, self._last = self._last, Outcome(time.perf_counter() - start, error)
        self._at = time.monotonic()
        self._report(before, self._last)
        return self._last

    async def _reach(self) -> object:
        faults.reach(self.name)
        return await self._probe()

    def _error(self, probing: "asyncio.Task[object]") -> str | None:
        if not probing.done():
            probing.cancel()
            # Whatever it still raises was answered for already, and is fetched so that nobody reports it as lost.
            probing.add_done_callback(lambda task: task.cancelled() or task.exception())
            return f"no answer in {self._timeout:g} s"
        failure = asyncio.CancelledError() if probing.cancelled() else probing.exception()
        if failure is None:
            return None
        return masking.mask_text(f"{type(failure).__name__}: {failure}")[:MAX_ERROR]

    def _report(self, before: Outcome | None, after: Outcome) -> None:
        was_up = before is None or before.error is None
        if after.error is not None and was_up:
            log.warning("dependency is down", dependency=self.name, error=after.error)
        elif after.error is None and not was_up:
            log.info("dependency is up again", dependency=self.name)


class Health:
    """All checks of one service."""

    def __init__(self, service: str, version: str, metrics: Metrics) -> None:
        self._service = service
        self._version = version
        self._checks: list[Check] = []
        self._up = metrics.gauge("dependency_up", "1 where the dependency answered its health check.", ["dependency"])

    def add(self, name: str, probe: Probe, timeout: float = TIMEOUT_SECONDS, cache: float = CACHE_SECONDS) -> None:
        """Add a dependency; ``probe`` raises where it is down. ``timeout`` and ``cache`` in seconds."""
        self._checks.append(Check(name, probe, timeout, cache))

    async def report(self) -> tuple[int, dict[str, Any]]:
        """Status (200 or 503) and body of /health; sets ``dependency_up``."""
        outcomes = await asyncio.gather(*(check.run() for check in self._checks))
        dependencies = {}
        for check, outcome in zip(self._checks, outcomes, strict=True):
            self._up.labels(check.name).set(1 if outcome.error is None else 0)
            dependencies[check.name] = outcome.body()
        healthy = all(outcome.error is None for outcome in outcomes)
        return 200 if healthy else 503, {
            "status": "healthy" if healthy else "degraded",
            "service": self._service,
            "version": self._version,
            "memory_bytes": memory_bytes(),
            "dependencies": dependencies,
        }


def memory_bytes() -> int:
    """Resident memory of this process in bytes; 0 where /proc does not exist."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
