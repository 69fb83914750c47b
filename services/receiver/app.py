"""``POST`` to any path takes Alertmanager's webhook JSON; ``GET /`` is a page, ``GET /notifications`` JSON.

``/notifications`` takes ``alertname``, ``status`` (firing or resolved) and ``since`` (Unix seconds), and
answers, newest last: ``{"notifications": [{"received_at", "path", "status", "receiver", "groupLabels",
"externalURL", "alerts": […]}]}``.

Needs DATA_DIR. Where RECEIVER_TOKEN_FILE is set, POST needs ``Authorization: Bearer <token>``.
"""

import hmac
import time
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from receiver.page import render
from receiver.store import Notification, Store
from telemetry import SettingsError, Telemetry, get_logger, web

MAX_BODY_BYTES = 1024 * 1024
STATUSES = ("firing", "resolved")
SEVERITIES = ("info", "warning", "critical")
log = get_logger("receiver")


class Receiver:
    """Notifications over HTTP."""

    def __init__(self, telemetry: Telemetry, store: Store, token: str | None) -> None:
        self._store = store
        self._token = token
        metrics = telemetry.metrics
        self._received = metrics.counter(
            "notifications_received_total", "Alerts in the notifications received.", ["status", "severity"]
        )
        self._malformed = metrics.counter("notifications_malformed_total", "Notifications refused as malformed.")

    async def receive(self, request: Request) -> Response:
        """Keep one notification; 400 with the reason where it is malformed."""
        received_at = time.time()
        if self._token is not None:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                raise HTTPException(401, "the bearer token is missing or wrong")
        try:
            notification = parse(await web.read_json(request, MAX_BODY_BYTES))
        except HTTPException:
            self._malformed.inc()
            raise
        self._store.add({"received_at": received_at, "path": request.url.path, **notification})
        for alert in notification["alerts"]:
            severity = alert["labels"].get("severity")
            severity = severity if severity in SEVERITIES else "other"
            self._received.labels(alert["status"], severity).inc()
            log.info(
                "notification",
                alertname=alert["labels"].get("alertname"),
                status_of_alert=alert["status"],
                severity=severity,
                receiver=notification["receiver"],
            )
        return JSONResponse({"kept": len(notification["alerts"])})

    async def page(self, _request: Request) -> Response:
        """The newest notifications for people."""
        csp = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(render(self._store.find()), headers=csp)

    async def list(self, request: Request) -> Response:
        """The notifications for tests and tools."""
        query = request.query_params
        try:
            since = float(query.get("since", "0"))
        except ValueError:
            raise HTTPException(400, "since must be Unix seconds") from None
        return JSONResponse({"notifications": self._store.find(query.get("alertname"), query.get("status"), since)})


def parse(body: dict[str, Any]) -> Notification:
    """What is kept of a webhook (prometheus.io/docs/alerting/latest/configuration, webhook_config).

    Raises HTTPException 400, which names the field that is wrong.
    """
    if body.get("status") not in STATUSES:
        raise HTTPException(400, "status must be firing or resolved")
    alerts = body.get("alerts")
    if not isinstance(alerts, list) or not alerts:
        raise HTTPException(400, "alerts must be a list that is not empty")
    return {
        "status": body["status"],
        "receiver": str(body.get("receiver", "")),
        "groupLabels": _labels(body, "groupLabels"),
        "externalURL": str(body.get("externalURL", "")),
        "alerts": [_alert(number, alert) for number, alert in enumerate(alerts)],
    }


def _alert(number: int, alert: object) -> dict[str, Any]:
    if not isinstance(alert, dict) or alert.get("status") not in STATUSES:
        raise HTTPException(400, f"alerts[{number}].status must be firing or resolved")
    kept: dict[str, Any] = {"status": alert["status"]}
    for field in ("labels", "annotations"):
        kept[field] = _labels(alert, field)
    for field in ("startsAt", "endsAt", "generatorURL", "fingerprint"):
        kept[field] = str(alert.get(field, ""))
    return kept


def _labels(body: dict[str, Any], field: str) -> dict[str, str]:
    found = body.get(field, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise HTTPException(400, f"{field} must be an object of texts")
    return found


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the receiver."""
    folder = Path(telemetry.settings.required("DATA_DIR"))
    try:
        store = Store(folder)
    except OSError as error:
        raise SettingsError(f"DATA_DIR={folder}: {error.strerror}") from error
    receiver = Receiver(telemetry, store, telemetry.settings.optional_secret("RECEIVER_TOKEN_FILE"))
    return telemetry.app(
        [
            Route("/", receiver.page, methods=["GET"]),
            Route("/notifications", receiver.list, methods=["GET"]),
            Route("/{path:path}", receiver.receive, methods=["POST"]),
        ]
    )
