"""Processes of a test's own: what a service does from its start to SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until


class Process:
    """A Python process that answers at ``url``; what it writes is in ``output``."""

    def __init__(self, popen: "subprocess.Popen[bytes]", url: str, client: httpx.Client, output: Path) -> None:
        self.url = url
        self.client = client
        self.output = output
        self._popen = popen

    def terminate(self) -> None:
        """SIGTERM."""
        self._popen.send_signal(signal.SIGTERM)

    def ended(self) -> float:
        """Wait for the end of it; returns the seconds that it took."""
        start = time.monotonic()
        self._popen.wait(15)
        return time.monotonic() - start

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines; fails where one is not JSON."""
        return [json.loads(line) for line in self.output.read_text(encoding="utf-8").splitlines()]

    def answers(self) -> None:
        """Raises NotYet while nothing answers, AssertionError where the process has ended."""
        assert self._popen.poll() is None, self.output.read_text(encoding="utf-8")
        try:
            self.client.get("/live").raise_for_status()
        except httpx.TransportError as error:
            raise NotYet(str(error)) from None


@contextmanager
def running(folder: Path, command: list[str], port: int, **environ: str) -> Iterator[Process]:
    """``python`` with these arguments, OTEL_SERVICE_NAME, a port and more variables; SIGTERM at the end."""
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}",
        "OTEL_SERVICE_NAME": "shop",
        "PORT": str(port),
        **environ,
    }
    url = f"http://127.0.0.1:{port}"
    with (folder / "output").open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            with httpx.Client(base_url=url, trust_env=False) as client:
                process = Process(popen, url, client, folder / "output")
                poll_until(process.answers, "the process answers", within=30, every=0.1)
                yield process
        finally:
            popen.send_signal(signal.SIGTERM)
            popen.wait(15)


class Collector:
    """Takes spans over OTLP; ``app`` is to be served, and OTEL_EXPORTER_OTLP_ENDPOINT to be its URL."""

    def __init__(self) -> None:
        self.span_ids: set[str] = set()
        self.names: list[str] = []
        self.app = Starlette(routes=[Route("/v1/traces", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        for resource in ExportTraceServiceRequest.FromString(await request.body()).resource_spans:
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.span_ids.add(span.span_id.hex())
                self.names.append(span.name)
        return Response()
