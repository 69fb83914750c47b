"""A server on the standard library alone, for containers that do without telemetry: its log line and its start."""

import json
import os
import signal
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def write_line(service: str, message: str, level: str) -> None:
    """One JSON line on stdout, with the fields that every line has (docs/logs.md)."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = {"timestamp": now, "level": level, "service": service, "logger": service, "message": message}
    print(json.dumps(line), flush=True)


def serve(service: str, handler: type[BaseHTTPRequestHandler]) -> None:
    """Serves on PORT until SIGTERM, each request in a thread; exits with 2 where PORT is missing or wrong."""
    port = os.environ.get("PORT", "")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        print(f"settings: PORT={port}: is required, and a number from 1 to 65535", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))
    server = ThreadingHTTPServer(("0.0.0.0", int(port)), handler)
    server.daemon_threads = True
    write_line(service, f"starting on port {port}", "info")
    server.serve_forever()
