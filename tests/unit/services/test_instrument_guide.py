"""The examples of docs/instrument-a-service.md are run as they stand there, and asked for /metrics."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until
from tests.ports import free_ports

GUIDE = (ROOT / "docs" / "instrument-a-service.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
REQUESTS = {
    "fastapi_shop": ("/orders/7", "/orders/{order}"),
    "starlette_shop": ("/v1/orders/7", "/v1/orders/{order}"),
    "plain_shop": ("/any/path", "unmatched"),
}


@contextmanager
def running(folder: Path, command: list[str], port: int) -> Iterator[httpx.Client]:
    """The process of an example, which has OTEL_SERVICE_NAME and a port, and what its addresses need."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "services"),
        "OTEL_SERVICE_NAME": "shop",
        "UPSTREAM_PAYMENTS": "http://127.0.0.1:1",
        "PORT": str(port),
    }
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                poll_until(
                    lambda: answers(client, process, folder / "output"), "the example answers", within=30, every=0.1
                )
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)


def answers(client: httpx.Client, process: "subprocess.Popen[bytes]", output: Path) -> None:
    """Raises NotYet while nothing answers, AssertionError where the process has ended."""
    assert process.poll() is None, output.read_text(encoding="utf-8")
    try:
        client.get("/live").raise_for_status()
    except httpx.TransportError as error:
        raise NotYet(str(error)) from None


def test_every_example_is_run_by_a_test() -> None:
    assert set(EXAMPLES) == {*REQUESTS, "worker", "dependencies"}


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_an_example_of_an_application_counts_its_requests_by_route(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(EXAMPLES[name], encoding="utf-8")
    path, route = REQUESTS[name]
    [port] = free_ports(1)
    with running(tmp_path, ["-m", "uvicorn", f"{name}:app", "--port", str(port)], port) as client:
        assert client.get(path).status_code == 200
        metrics = client.get("/metrics").text
        assert client.get("/health").json()["status"] == "healthy"
    assert f'http_requests_total{{method="GET",route="{route}",service="shop",status="200"}} 1.0' in metrics
    for line in (tmp_path / "output").read_text(encoding="utf-8").splitlines():
        assert line.startswith('{"timestamp":'), line


def test_the_example_of_a_worker_counts_its_jobs_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(EXAMPLES["worker"], encoding="utf-8")
    [port] = free_ports(1)

    with running(tmp_path, ["worker.py"], port) as client:

        def jobs() -> None:
            found = re.search(r'^jobs_done_total{service="shop"} (\S+)$', client.get("/metrics").text, re.MULTILINE)
            if found is None or float(found[1]) < 2:
                raise NotYet(found[0] if found else "no such metric")

        poll_until(jobs, "two jobs are done", within=15, every=0.1)
        assert client.get("/orders").status_code == 404


def test_the_example_with_dependencies_shows_them(tmp_path: Path) -> None:
    (tmp_path / "dependencies.py").write_text(EXAMPLES["dependencies"], encoding="utf-8")
    [port] = free_ports(1)
    with running(tmp_path, ["-m", "uvicorn", "dependencies:app", "--port", str(port)], port) as client:
        assert client.post("/orders").status_code == 500
        health = client.get("/health").json()
        metrics = client.get("/metrics").text
    assert {name: found["status"] for name, found in health["dependencies"].items()} == {
        "payments": "down",
        "shelf": "up",
    }
    assert 'dependency_up{dependency="payments",service="shop"} 0.0' in metrics
    assert 'circuit_breaker_state{dependency="payments",service="shop"} 0.0' in metrics
    assert '"user_id":"user-7"' in (tmp_path / "output").read_text(encoding="utf-8")
