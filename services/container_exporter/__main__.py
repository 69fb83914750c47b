"""Serves /metrics, /health, /live and /live/metrics on PORT.

Needs the host's /sys/fs/cgroup at /host/cgroup and the engine's container folder at /host/containers, both
read-only. Runs as root without capabilities: the engine's files can be read by root only. It does not use the
telemetry library, which would double its memory.
"""

import json
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from bare_server import serve, write_line
from container_exporter.collector import Containers

CGROUP = Path("/host/cgroup")
CONTAINERS = Path("/host/containers")
SERVICE = "container-exporter"
LIVE_METRICS = (
    "# HELP service_live 1 while the process answers.\n# TYPE service_live gauge\n"
    f'service_live{{service="{SERVICE}"}} 1\n'
)
TEXT = "text/plain; version=0.0.4; charset=utf-8"


log_error = partial(write_line, SERVICE, level="error")


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
                log_error(f"scrape failed: {error}")
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


if __name__ == "__main__":
    disable_created_metrics()  # type: ignore[no-untyped-call]
    serve(SERVICE, handler(Containers(CGROUP, CONTAINERS, log_error)))
