"""Instrumentation shared by all services: metrics, logs, traces, health and clients. No business code.

def build(telemetry: Telemetry) -> ASGIApp:
    payments = telemetry.client("payments")
    return telemetry.app([Route("/orders", place_order, methods=["POST"])])

telemetry.run(build)
"""

from telemetry.app import Telemetry, run
from telemetry.errors import CircuitOpen, DependencyError, SettingsError, TimedOut, Unreachable
from telemetry.logs import get_logger
from telemetry.settings import Settings

__all__ = [
    "CircuitOpen",
    "DependencyError",
    "Settings",
    "SettingsError",
    "Telemetry",
    "TimedOut",
    "Unreachable",
    "get_logger",
    "run",
]
