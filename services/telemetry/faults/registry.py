"""The faults that are at work in this process, each for a bounded time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from telemetry.errors import Unreachable
from telemetry.faults import effects
from telemetry.faults.kinds import KINDS, MAX_SECONDS, BadFault, Parameter, suggestion
from telemetry.logs import get_logger

SECONDS = Parameter(1, MAX_SECONDS, "seconds")
log = get_logger("telemetry.faults")


class Injected(Exception):
    """Raised in place of what a fault makes fail."""


@dataclass(eq=False, slots=True)
class Fault:
    """One fault at work; ``over`` is set when it ends. Times in seconds, ``began`` by the monotonic clock."""

    kind: str
    parameters: dict[str, float]
    dependency: str | None
    seconds: float
    began: float
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _due: float = 0.0

    @property
    def key(self) -> str:
        """There is one fault of a kind at a time; ``unreachable`` one of each dependency."""
        return self.kind if self.dependency is None else f"{self.kind} {self.dependency}"

    def strikes(self) -> bool:
        """Whether it hits this time: evenly, so that 0.5 is every second time and not about half of them."""
        self._due += self.parameters.get("share", 1.0)
        hit = self._due >= 1 - 1e-9
        self._due -= hit
        return hit

    def body(self) -> dict[str, Any]:
        """For the JSON body of the listener."""
        named = {} if self.dependency is None else {"dependency": self.dependency}
        left = max(self.began + self.seconds - time.monotonic(), 0)
        return {"kind": self.kind, **named, **self.parameters, "seconds": self.seconds, "left": round(left, 1)}


class Faults:
    """Starts, lists and ends faults; tells the code that can fail which are at work."""

    def __init__(self) -> None:
        self._active: dict[str, Fault] = {}
        self._endings: dict[str, list[Callable[[], object]]] = {}
        self._hooked: set[str] = set()
        self._dependencies: set[str] = set()

    @property
    def kinds(self) -> list[str]:
        """Kinds that this process can have."""
        return [name for name, kind in KINDS.items() if name in self._hooked or not kind.hooked]

    def active(self, kind: str) -> Fault | None:
        """The fault of a kind that is at work now."""
        return self._active.get(kind)

    def hook(self, kind: str) -> "Hook":
        """Declares that this process has a place for a kind; the hook is asked there."""
        self._hooked.add(kind)
        return Hook(self, kind)

    def declare(self, dependency: str) -> None:
        """Declares a dependency, so that it can be made unreachable."""
        self._dependencies.add(dependency)

    def reach(self, dependency: str) -> None:
        """Raises Unreachable while a fault keeps a dependency away."""
        if self._active and f"unreachable {dependency}" in self._active:
            raise Unreachable(dependency, "a fault keeps it away")

    def start(self, wanted: dict[str, Any]) -> Fault:
        """Starts a fault from ``kind``, ``seconds`` and its parameters, in the place of one with the same key.

        Needs a running event loop, which ends it in time. Raises BadFault.
        """
        fault = self._checked(wanted)
        self.end(fault.key, "another takes its place")
        log.warning("fault begins", **fault.body())
        timer = asyncio.get_running_loop().call_later(fault.seconds, self.end, fault.key, "its time is up")
        self._active[fault.key] = fault
        self._endings[fault.key] = [timer.cancel, effects.begin(fault.kind, fault.parameters, fault.seconds)]
        return fault

    def end(self, key: str, why: str) -> None:
        """Ends a fault, where it is at work."""
        fault = self._active.pop(key, None)
        if fault is None:
            return
        for ending in self._endings.pop(key):
            ending()
        fault.over.set()
        log.warning("fault ends", kind=fault.kind, dependency=fault.dependency, why=why)

    def clear(self, why: str) -> int:
        """Ends all faults; returns how many."""
        keys = list(self._active)
        for key in keys:
            self.end(key, why)
        return len(keys)

    def bodies(self) -> list[dict[str, Any]]:
        """All faults that are at work."""
        return [fault.body() for fault in self._active.values()]

    def _checked(self, wanted: dict[str, Any]) -> Fault:
        name = wanted.get("kind")
        if not isinstance(name, str) or name not in KINDS:
            raise BadFault(f"there is no kind {name!r}: {suggestion(name, self.kinds)}")
        if name not in self.kinds:
            raise BadFault(f"{name} has no place in this service; it can have: {', '.join(self.kinds)}")
        kind = KINDS[name]
        takes = {"kind", "seconds", *kind.parameters, *(["dependency"] if kind.names_dependency else [])}
        for key in wanted:
            if key not in takes:
                raise BadFault(f"{name} takes no {key!r}; it takes: {', '.join(sorted(takes - {'kind'}))}")
        dependency = wanted.get("dependency")
        if kind.names_dependency and dependency is None:
            raise BadFault(
                f"dependency is required: {', '.join(sorted(self._dependencies)) or 'this service has none'}"
            )
        if kind.names_dependency and (not isinstance(dependency, str) or dependency not in self._dependencies):
            raise BadFault(
                f"{dependency!r} is no dependency of this service: {suggestion(dependency, self._dependencies)}"
            )
        return Fault(
            name,
            {key: parameter.check(key, wanted.get(key)) for key, parameter in kind.parameters.items()},
            dependency,
            SECONDS.check("seconds", wanted.get("seconds")),
            time.monotonic(),
        )


class Hook:
    """A place in the code that can be made to fail."""

    def __init__(self, faults: Faults, kind: str) -> None:
        self._faults = faults
        self.kind = kind

    def strikes(self) -> bool:
        """Whether the fault is at work and hits this time."""
        fault = self._faults.active(self.kind)
        return fault is not None and fault.strikes()

    def fail(self) -> None:
        """Raises Injected where the fault strikes."""
        if self.strikes():
            raise Injected(f"fault {self.kind}")

    def scaled(self, amount: int) -> int:
        """``amount``, times the factor of the fault while it is at work."""
        fault = self._faults.active(self.kind)
        return amount if fault is None else round(amount * fault.parameters["factor"])

    async def wait(self) -> None:
        """Returns at once, or when the fault is over."""
        while fault := self._faults.active(self.kind):
            await fault.over.wait()


FAULTS = Faults()
"""Those of this process."""
