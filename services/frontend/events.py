"""What browsers report: views, errors, web vitals, use. It is somebody else's word, so it is checked and bounded."""

import math
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from frontend.pages import NAMES
from frontend.rate import Buckets
from telemetry import Telemetry, get_logger, ids, web
from telemetry.forwarded import Proxies

MAX_BODY_BYTES = 16 * 1024
MAX_EVENTS = 50
# A page reports two or three times; so many clients may share an address.
BURST, PER_SECOND = 120, 4
ERROR_KINDS = ("script", "promise", "resource", "api", "csp")
USER_EVENTS = ("visit", "form_submitted", "form_abandoned", "rage_click")
VITALS = ("LCP", "INP", "FCP", "TTFB")
MAX_VITAL_SECONDS = 600.0
MAX_SHIFT_SCORE = 100.0
# The bounds of "good" and "poor" are among them: LCP 2.5 and 4 s, INP 0.2 and 0.5 s, FCP 1.8 and 3 s,
# TTFB 0.8 and 1.8 s, CLS 0.1 and 0.25 (web.dev/articles/vitals).
VITAL_BOUNDS = (0.025, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.8, 2.5, 3.0, 4.0, 6.0, 10.0, 30.0)
SHIFT_BOUNDS = (0.01, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)

log = get_logger("frontend.events")


class Events:
    """The endpoint for navigator.sendBeacon: ``{"visit": "…", "page": "…", "events": [{"type": …}, …]}``.

    An event is ``{"type": "view", "page"}``, ``{"type": "error", "kind", "message"}``,
    ``{"type": "vital", "vital", "value"}`` or ``{"type": "user", "event"}``.
    """

    def __init__(self, telemetry: Telemetry, proxies: Proxies) -> None:
        self._proxies = proxies
        self._buckets = Buckets(BURST, PER_SECOND)
        metrics = telemetry.metrics
        self._errors = metrics.counter("frontend_errors_total", "Errors seen in browsers.", ["kind"])
        self._vital = metrics.histogram("frontend_web_vital_seconds", "Web vitals.", ["vital"], VITAL_BOUNDS)
        self._shift = metrics.histogram("frontend_layout_shift_score", "Cumulative layout shift.", (), SHIFT_BOUNDS)
        self._views = metrics.counter("frontend_page_views_total", "Pages seen by users.", ["page"])
        self._uses = metrics.counter("frontend_user_events_total", "What users met with.", ["event"])
        for counter, values in (
            (self._errors, ERROR_KINDS),
            (self._vital, VITALS),
            (self._views, NAMES),
            (self._uses, USER_EVENTS),
        ):
            for value in values:
                counter.labels(value)

    async def receive(self, request: Request) -> Response:
        """204; 403 for a page of somebody else; 429; or 400 where one event is malformed: then none of them counts."""
        refuse_strangers(request)
        wait = self._buckets.wait(self._proxies.client(request.scope), time.monotonic())
        if wait > 0:
            return web.failure(429, "rate_limited", "too many reports", {"retry-after": str(math.ceil(wait))})
        body = await web.read_json(request, MAX_BODY_BYTES)
        events = body.get("events")
        if not isinstance(events, list) or not 0 < len(events) <= MAX_EVENTS:
            raise HTTPException(400, f"events must be a list of 1 to {MAX_EVENTS}")
        page = _one_of(body, "page", NAMES)
        visit = web.text(body, "visit", 128)
        for event in events:
            validate(event)
        own = ids.current()
        with ids.bound(ids.accept(own.request if own else None, visit)):
            for event in events:
                self._record(event, page)
        return Response(status_code=204)

    def _record(self, event: dict[str, Any], page: str) -> None:
        match event["type"]:
            case "view":
                self._views.labels(event["page"]).inc()
            case "user":
                self._uses.labels(event["event"]).inc()
            case "error":
                self._errors.labels(event["kind"]).inc()
                log.warning("browser error", kind=event["kind"], detail=event["message"], page=page)
            case _ if event["vital"] == "CLS":
                self._shift.observe(event["value"])
            case _:
                self._vital.labels(event["vital"]).observe(event["value"])


def refuse_strangers(request: Request) -> None:
    """Raises HTTPException 403 where the page of another origin sent the request, 415 where it needed no permission.

    A browser sends any other content type across origins without asking; this one it asks for, and is not answered.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the content type must be application/json")
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin" or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise HTTPException(403, "only the pages of this service report here")


def validate(event: object) -> None:
    """Raises HTTPException 400 for an event that is not exactly what the page sends."""
    if not isinstance(event, dict):
        raise HTTPException(400, "an event must be an object")
    match event.get("type"):
        case "view":
            _one_of(event, "page", NAMES)
        case "user":
            _one_of(event, "event", USER_EVENTS)
        case "error":
            _one_of(event, "kind", ERROR_KINDS)
            web.text(event, "message", 500)
        case "vital":
            vital = _one_of(event, "vital", (*VITALS, "CLS"))
            web.number(event, "value", 0, MAX_SHIFT_SCORE if vital == "CLS" else MAX_VITAL_SECONDS)
        case _:
            raise HTTPException(400, "type must be view, user, error or vital")


def _one_of(body: dict[str, Any], field: str, known: tuple[str, ...]) -> str:
    value = body.get(field)
    if not isinstance(value, str) or value not in known:
        raise HTTPException(400, f"{field} must be one of {', '.join(known)}")
    return value
