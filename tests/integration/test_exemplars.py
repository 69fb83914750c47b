"""Exemplars: each opens a trace that is stored."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from lookout.project import Project
from lookout.verify.http import get_json
from lookout.verify.polling import NotYet, poll_until
from tests.integration.exposed import healthy
from tests.integration.journeys import FAILING, JOURNEYS, kept_traceparent, travel
from tests.integration.test_sampling import SLOW

pytestmark = pytest.mark.integration

TAKEN = 10
SEED = time.time_ns()


def exemplars(stack: Project, since: float) -> dict[str, dict[str, Any]]:
    """Exemplars of requests from after a Unix time, by their trace: the labels of the series, value and timestamp."""
    query = {"query": "http_request_duration_seconds_bucket", "start": since, "end": time.time()}
    answer = get_json(f"{stack.live.url('prometheus')}/api/v1/query_exemplars", query)
    return {
        exemplar["labels"]["trace_id"]: {**series["seriesLabels"], **exemplar}
        for series in answer["data"]
        for exemplar in series["exemplars"]
    }


def test_ten_exemplars_taken_at_random_all_open_a_stored_trace(stack: Project) -> None:
    poll_until(lambda: healthy(stack), "healthy services", within=120, every=1)
    since = time.time()
    for journey in (*JOURNEYS, SLOW, FAILING):
        travel(stack, journey, {})
    for _ in range(50):
        stack.live.notifications()  # of a process that sends no spans: it must attach no exemplars

    def enough() -> dict[str, dict[str, Any]]:
        for journey in JOURNEYS:
            travel(stack, journey, {"traceparent": kept_traceparent()})
        found = exemplars(stack, since)
        services = {exemplar["service"] for exemplar in found.values()}
        if len(found) < 2 * TAKEN or len(services) < 4:
            raise NotYet(f"{len(found)} exemplars of {sorted(services)}")
        return found

    found = poll_until(enough, "exemplars to choose from", within=180, every=2)
    taken = random.Random(SEED).sample(sorted(found), TAKEN)

    def all_stored() -> None:
        missing = [trace for trace in taken if not stored(stack, trace)]
        if missing:
            raise NotYet(f"seed {SEED}: no trace for {[found[trace] for trace in missing]}")

    poll_until(all_stored, "the traces of ten exemplars", within=60, every=1)


def stored(stack: Project, trace_id: str) -> bool:
    """Whether the trace store has the trace now."""
    try:
        return bool(stack.live.trace(trace_id))
    except NotYet:
        return False
