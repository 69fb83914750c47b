"""Serves /metrics, /health, /live and /live/metrics on PORT.

Needs the host's /sys/fs/cgroup at /host/cgroup and the engine's container folder at /host/containers, both
read-only. Runs as root without capabilities: the engine's files can be read by root only. It does not use the
telemetry library, which would double its memory.
"""

import json
import os
import signal
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from container_exporter.collector import Containers

CGROUP = Path("/host/cgroup")
CONTAINERS = Path("/host/containers")
SERVICE = "container-exporter"
LIVE_METRICS = (
    "# HELP service_live 1 while the process answers.\n# TYPE service_live gauge\n"
    f'service_live{{service="{SERVICE}"}} 1\n'
)
TEXT = "text/plain; version=0.0.4; charset=utf-8"


def log(message: str, level: str = "error") -> None:
    """One JSON line on stdout."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    print(json.dumps({"timestamp": now, "level": level, "service": SERVICE, "message": message}), flush=True)


def handler(containers: Containers) -> type[BaseHTTPRequestHandler]:
    """The request handler for one collector."""
    registry = CollectorRegistry()
    registry.register(containers)
    ProcessCollector(registry=registry)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._metrics()
            elif path == "/health":
                error = containers.check()
                status = "healthy" if error is None else "degraded"
                body = json.dumps({"status": status, "service": SERVICE, "error": error})
                self._answer(200 if error is None else 503, "application/json", body.encode())
            elif path == "/live":
                self._answer(200, TEXT, b"ok")
            elif path == "/live/metrics":
                self._answer(200, TEXT, LIVE_METRICS.encode())
            else:
                self._answer(404, TEXT, b"not found")

        def log_message(self, format: str, *args: object) -> None:
            """No access lines: there is nothing here but scrapes."""

        def _metrics(self) -> None:
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            try:
                body = encode(registry)
            except OSError as error:
                log(f"scrape failed: {error}")
                self._answer(500, TEXT, b"the host's folders cannot be read")
                return
            self._answer(200, content_type, body)

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> None:
    """Serve until SIGTERM; exits with 2 where PORT is missing or wrong."""
    port = os.environ.get("PORT", "")
    if not port.isdecimal():
        print("settings: PORT is required and must be a number", file=sys.stderr)
        sys.exit(2)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    server = ThreadingHTTPServer(("0.0.0.0", int(port)), handler(Containers(CGROUP, CONTAINERS, log)))
    server.daemon_threads = True
    server.block_on_close = False
    log(f"starting on port {port}", "info")
    server.serve_forever()


if __name__ == "__main__":
    main()
