"""The examples of docs/instrument-a-service.md are run as they stand there, and asked for /metrics."""

import re
from pathlib import Path

import pytest

from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until
from tests.ports import free_ports
from tests.unit.services.processes import running

GUIDE = (ROOT / "docs" / "instrument-a-service.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
REQUESTS = {
    "fastapi_shop": ("/orders/7", "/orders/{order}"),
    "starlette_shop": ("/v1/orders/7", "/v1/orders/{order}"),
    "plain_shop": ("/any/path", "unmatched"),
}


def test_every_example_is_run_by_a_test() -> None:
    assert set(EXAMPLES) == {*REQUESTS, "worker", "dependencies"}


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_an_example_of_an_application_counts_its_requests_by_route(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(EXAMPLES[name], encoding="utf-8")
    path, route = REQUESTS[name]
    [port] = free_ports(1)
    with running(tmp_path, ["-m", "uvicorn", f"{name}:app", "--port", str(port)], port) as process:
        assert process.client.get(path).status_code == 200
        metrics = process.client.get("/metrics").text
        assert process.client.get("/health").json()["status"] == "healthy"
    assert f'http_requests_total{{method="GET",route="{route}",service="shop",status="200"}} 1.0' in metrics
    assert all("timestamp" in line for line in process.lines())


def test_the_example_of_a_worker_counts_its_jobs_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(EXAMPLES["worker"], encoding="utf-8")
    [port] = free_ports(1)

    with running(tmp_path, ["worker.py"], port) as process:

        def jobs() -> None:
            metrics = process.client.get("/metrics").text
            found = re.search(r'^jobs_done_total{service="shop"} (\S+)$', metrics, re.MULTILINE)
            if found is None or float(found[1]) < 2:
                raise NotYet(found[0] if found else "no such metric")

        poll_until(jobs, "two jobs are done", within=15, every=0.1)
        assert process.client.get("/orders").status_code == 404


def test_the_example_with_dependencies_shows_them(tmp_path: Path) -> None:
    (tmp_path / "dependencies.py").write_text(EXAMPLES["dependencies"], encoding="utf-8")
    [port] = free_ports(1)
    command = ["-m", "uvicorn", "dependencies:app", "--port", str(port)]
    with running(tmp_path, command, port, UPSTREAM_PAYMENTS="http://127.0.0.1:1") as process:
        assert process.client.post("/orders").status_code == 500
        health = process.client.get("/health").json()
        metrics = process.client.get("/metrics").text
    assert {name: found["status"] for name, found in health["dependencies"].items()} == {
        "payments": "down",
        "shelf": "up",
    }
    assert 'dependency_up{dependency="payments",service="shop"} 0.0' in metrics
    assert 'circuit_breaker_state{dependency="payments",service="shop"} 0.0' in metrics
    assert '"user_id":"user-7"' in process.output.read_text(encoding="utf-8")
