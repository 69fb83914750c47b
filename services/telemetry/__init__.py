"""Instrumentation shared by all services: metrics, logs, traces, health and clients. No business code.

Around any ASGI application (docs/instrument-a-service.md):

    app = telemetry.instrument(app)

A service whose clients of other services are observed too:

    def build(telemetry: Telemetry) -> ASGIApp:
        payments = telemetry.client("payments")
        return telemetry.app([Route("/orders", place_order, methods=["POST"])])

    telemetry.run(build)
"""

from telemetry.app import Telemetry, instrument, run, run_worker
from telemetry.errors import (
    AuditUnavailable,
    CircuitOpen,
    DependencyError,
    SettingsError,
    TimedOut,
    Unreachable,
    Unwritable,
)
from telemetry.ids import bind_user
from telemetry.logs import get_logger
from telemetry.settings import Settings

__all__ = [
    "AuditUnavailable",
    "CircuitOpen",
    "DependencyError",
    "Settings",
    "SettingsError",
    "Telemetry",
    "TimedOut",
    "Unreachable",
    "Unwritable",
    "bind_user",
    "get_logger",
    "instrument",
    "run",
    "run_worker",
]
