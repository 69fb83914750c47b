"""Signed webhooks of the GitHub App."""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from telemetry import Telemetry, faults, get_logger, web

MAX_BODY_BYTES = 1024 * 1024
log = get_logger("api_gateway.webhooks")
BAD_SIGNATURES = faults.hook("bad_signatures")
Send = Callable[[str, str, str, bytes, dict[str, str]], Awaitable[httpx.Response]]


def signature(secret: str, body: bytes) -> str:
    """Value of X-Hub-Signature-256 (docs.github.com, "Validating webhook deliveries")."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class GithubWebhook:
    """Checks the signature, then starts a workflow for the event."""

    def __init__(self, telemetry: Telemetry, secret: str, send: Send) -> None:
        self._secret = secret
        self._send = send
        self._failures = telemetry.metrics.counter(
            "webhook_signature_failures_total", "Webhooks with a missing or wrong signature.", ["source"]
        )
        self._failures.labels("github")

    async def receive(self, request: Request) -> Response:
        """202 for a signed event, 401 for any other."""
        body = await web.read_body(request, MAX_BODY_BYTES)
        given = request.headers.get("x-hub-signature-256", "")
        right = hmac.compare_digest(given.encode(), signature(self._secret, body).encode())
        if BAD_SIGNATURES.strikes() or not right:
            self._failures.labels("github").inc()
            log.warning("webhook signature is wrong", source="github", given=bool(given))
            return web.failure(401, "bad_signature", "X-Hub-Signature-256 is missing or wrong")
        event = request.headers.get("x-github-event", "unknown")[:64]
        job = {"kind": "workflow", "name": "post_fetch", "content": f"<article><h1>{event}</h1></article>"}
        answer = await self._send(
            "automation-services",
            "POST",
            "/jobs",
            json.dumps(job).encode(),
            {"content-type": "application/json"},
        )
        if answer.status_code >= 400:
            return web.failure(502, "dependency_failed", "automation-services refused the event")
        return JSONResponse(answer.json(), 202)
