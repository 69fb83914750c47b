"""Numbers of the rule tests that follow from the model, so that a changed threshold comes with tests that fit it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .model import Stack

STEP_SECONDS = 15
"""Distance of the samples in the tests of HighErrorRate, and of their evaluations."""


@dataclass(frozen=True)
class Errors:
    """Requests a step that succeed and fail when HighErrorRate must fire; ``few`` fail when it must not."""

    good: float
    bad: float
    few: float
    steps: int
    fires_at: str
    resolved_at: str


@dataclass(frozen=True)
class Warm:
    """Scrapes of either class before a test of ServiceDown, so many that it is watched."""

    live: int
    standard: int


@dataclass(frozen=True)
class Restarts:
    """How many restarts are allowed, and when ContainerRestarting must be silent, fire and be over."""

    allowed: int
    steps: int
    last_allowed: str
    fires_at: str
    resolved_at: str


def warm(stack: Stack) -> Warm:
    """A minute and a little; ServiceDown looks no further back."""
    return Warm(*(_scrapes_in(each.interval.seconds) for each in (stack.scrape.critical, stack.scrape.standard)))


def _scrapes_in(interval: float, seconds: float = 60) -> int:
    return math.ceil(seconds / interval) + 10


def errors(stack: Stack) -> Errors:
    """The failing phase lasts until the alert has fired for a while, and the phase after it as long."""
    rate = stack.alerts.error_rate
    steps = _steps(rate.window.seconds + rate.for_.seconds) + 8
    bad = min(100.0, 2 * rate.above.number)
    return Errors(round(100 - bad, 6), bad, round(rate.above.number / 2, 6), steps, _time(steps - 2), _time(2 * steps))


def restarts(stack: Stack) -> Restarts:
    """The container starts anew at every step from the sixth on, once more than allowed."""
    rule = stack.alerts.restarts
    every = stack.scrape.slow.interval.milliseconds
    window = math.ceil(rule.window.milliseconds / every)
    fires = 6 + rule.more_than
    times = (_in_whole_units(step * every) for step in (fires - 1, fires, fires + window + 2))
    return Restarts(rule.more_than, window + 4, *times)


def _in_whole_units(milliseconds: int) -> str:
    """Prometheus' durations have no fractions."""
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _steps(seconds: float) -> int:
    return math.ceil(seconds / STEP_SECONDS)


def _time(step: int) -> str:
    return f"{step * STEP_SECONDS}s"
