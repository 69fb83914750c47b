"""What browsers report: errors and web vitals. It is somebody else's word, so it is checked and bounded."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from telemetry import Telemetry, get_logger, web

MAX_BODY_BYTES = 16 * 1024
MAX_EVENTS = 50
ERROR_KINDS = ("script", "promise", "resource", "api")
VITALS = ("LCP", "INP", "FCP", "TTFB")
MAX_VITAL_SECONDS = 600.0
MAX_SHIFT_SCORE = 100.0
# The bounds of "good" and "poor" are among them: LCP 2.5 and 4 s, INP 0.2 and 0.5 s, FCP 1.8 and 3 s,
# TTFB 0.8 and 1.8 s, CLS 0.1 and 0.25 (web.dev/articles/vitals).
VITAL_BOUNDS = (0.025, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.8, 2.5, 3.0, 4.0, 6.0, 10.0, 30.0)
SHIFT_BOUNDS = (0.01, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)

log = get_logger("frontend.events")


class Events:
    """The endpoint for navigator.sendBeacon: ``{"events": [{"type": "error" | "vital", …}]}``."""

    def __init__(self, telemetry: Telemetry) -> None:
        metrics = telemetry.metrics
        self.errors = metrics.counter("frontend_errors_total", "Errors seen in browsers.", ["kind"])
        self._vital = metrics.histogram("frontend_web_vital_seconds", "Web vitals.", ["vital"], VITAL_BOUNDS)
        self._shift = metrics.histogram("frontend_layout_shift_score", "Cumulative layout shift.", (), SHIFT_BOUNDS)
        for kind in ERROR_KINDS:
            self.errors.labels(kind)

    async def receive(self, request: Request) -> Response:
        """204, or 400 where one event is malformed: then none of them counts."""
        body = await web.read_json(request, MAX_BODY_BYTES)
        events = body.get("events")
        if not isinstance(events, list) or not 0 < len(events) <= MAX_EVENTS:
            raise HTTPException(400, f"events must be a list of 1 to {MAX_EVENTS}")
        for event in events:
            validate(event)
        for event in events:
            self._record(event)
        return Response(status_code=204)

    def _record(self, event: dict[str, Any]) -> None:
        if event["type"] == "error":
            self.errors.labels(event["kind"]).inc()
            log.warning("browser error", kind=event["kind"], detail=event["message"])
        elif event["vital"] == "CLS":
            self._shift.observe(event["value"])
        else:
            self._vital.labels(event["vital"]).observe(event["value"])


def validate(event: object) -> None:
    """Raises HTTPException 400 for an event that is not exactly what the page sends."""
    if not isinstance(event, dict):
        raise HTTPException(400, "an event must be an object")
    if event.get("type") == "error":
        if event.get("kind") not in ERROR_KINDS:
            raise HTTPException(400, f"kind must be one of {', '.join(ERROR_KINDS)}")
        web.text(event, "message", 500)
    elif event.get("type") == "vital":
        if event.get("vital") not in (*VITALS, "CLS"):
            raise HTTPException(400, f"vital must be CLS or one of {', '.join(VITALS)}")
        web.number(event, "value", 0, MAX_SHIFT_SCORE if event["vital"] == "CLS" else MAX_VITAL_SECONDS)
    else:
        raise HTTPException(400, "type must be error or vital")
