"""A real process of the library under a steady load, then told to end: nothing is lost. `make bench` does more."""

import asyncio
import math

from tests.benchmarks import load

RATE, SECONDS = 150, 3.0


def test_no_increment_access_line_or_span_is_lost_under_load_and_at_shutdown() -> None:
    found = asyncio.run(load.run(RATE, SECONDS))
    assert found["requests"] == RATE * SECONDS
    assert found["failures"] == math.ceil(RATE * SECONDS / load.FAIL_EVERY)
    lost = {name: value for name, value in found.items() if name.startswith("lost_")}
    assert lost == dict.fromkeys(lost, 0)
