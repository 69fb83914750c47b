"""The review pipeline: passes over a text, each a stage with its findings."""

import asyncio
import re
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from telemetry import Telemetry, web

MAX_TEXT = 16_000
MAX_LINE = 120
_WORD = re.compile(r"\w+")


def layout(text: str) -> list[str]:
    """Long lines and white space at their ends."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_LINE:
            found.append(f"line {number} is longer than {MAX_LINE} characters")
        if line != line.rstrip():
            found.append(f"line {number} ends in white space")
    return found


def leftovers(text: str) -> list[str]:
    """Marks of unfinished work."""
    return [f"line {n} has {m}" for n, line in enumerate(text.splitlines(), 1) for m in ("TODO", "FIXME") if m in line]


def repetition(text: str) -> list[str]:
    """Words that stand twice in a row."""
    words = _WORD.findall(text)
    return [f'"{a}" stands twice in a row' for a, b in pairwise(words) if a.lower() == b.lower()]


STAGES: dict[str, Callable[[str], list[str]]] = {
    "layout": layout,
    "leftovers": leftovers,
    "repetition": repetition,
}


class Reviews:
    """Runs every stage."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._reviews = telemetry.metrics.counter("reviews_total", "Reviews, clean or with findings.", ["status"])
        for status in ("clean", "findings"):
            self._reviews.labels(status)
        self._seconds = telemetry.metrics.histogram(
            "review_pipeline_duration_seconds", "Duration of the stages of a review.", ["stage"]
        )

    def review(self, text: str) -> dict[str, Any]:
        """Findings by stage, and whether there are any."""
        findings = {}
        for stage, check in STAGES.items():
            start = time.perf_counter()
            findings[stage] = check(text)[:50]
            self._seconds.labels(stage).observe(time.perf_counter() - start)
        status = "findings" if any(findings.values()) else "clean"
        self._reviews.labels(status).inc()
        return {"status": status, "findings": findings}

    async def at_once(self, request: Request) -> Response:
        """The review of a text, in the answer."""
        text = web.text(await web.read_json(request), "text", MAX_TEXT)
        return JSONResponse(await asyncio.to_thread(self.review, text))
