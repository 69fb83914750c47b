"""Endpoints of the stack itself, around the application: neither traced, counted nor logged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from telemetry import answers, lifespan
from telemetry.middleware import Observed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from telemetry.app import Telemetry

OWN = frozenset({"/health", "/live", "/live/metrics", "/metrics"})


class Instrumented:
    """An application, observed, with /health, /live, /live/metrics and /metrics; ``telemetry`` is what observes it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self._app = app
        self._observed = Observed(app, telemetry.metrics, telemetry.tracing)
        self._live_metrics = (
            "# HELP service_live 1 while the process answers.\n# TYPE service_live gauge\n"
            f'service_live{{service="{telemetry.settings.service}"}} 1\n'
        ).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan.serve(self._app, scope, receive, send, self.telemetry.running())
            return
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path in OWN and scope["method"] in ("GET", "HEAD"):
                await answers.send_answer(send, *await self._answer(path, scope))
                return
        await self._observed(scope, receive, send)

    async def _answer(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        if path == "/live":
            return 200, b"ok", answers.TEXT
        if path == "/live/metrics":
            return 200, self._live_metrics, b"text/plain; version=0.0.4; charset=utf-8"
        if path == "/health":
            status, body = await self.telemetry.health.report()
            return status, json.dumps(body).encode(), answers.JSON
        await self.telemetry.measure()
        accept = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
        exposition, content_type = self.telemetry.metrics.expose(accept)
        return 200, exposition, content_type.encode()
