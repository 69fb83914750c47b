"""`status` says what is wrong, and names it; `up` fails as it should; data outlive a restart."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

import httpx
import pytest
import yaml

from lookout import cli, engine, machine, project
from lookout.project import Project
from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.servers import kept_trace_id, kept_traceparent
from tests.integration.conftest import LIVE_WITHIN
from tests.ports import free_ports

pytestmark = pytest.mark.integration


def status(stack: Project, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and words of the status command."""
    code = cli.main(["--project", str(stack.folder), "status"])
    said = capsys.readouterr()
    return code, said.out + said.err


def wait_live(stack: Project) -> None:
    verdicts = project.wait_until_live(stack, LIVE_WITHIN, print)
    assert all(verdict.ok for verdict in verdicts), project.failures(stack, verdicts)


def test_status_of_a_live_stack_ends_with_0_and_the_addresses(
    stack: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_live(stack)
    code, said = status(stack, capsys)
    assert code == 0, said
    for name in stack.stack.publish.ports:
        url = stack.stack.url_of(name)
        assert url is None or url in said


def test_stopping_any_one_server_makes_status_fail_and_name_it(
    stack: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    containers = stack.compose.containers()
    unnoticed: dict[str, str] = {}
    for name in stack.stack.containers:
        engine.run("kill", containers[name]["Id"])
        code, said = status(stack, capsys)
        engine.run("start", containers[name]["Id"])
        if code != 1 or f"{name}: is exited" not in said:
            unnoticed[name] = f"{code}: {said}"
    assert not unnoticed
    wait_live(stack)


def test_smoke_follows_a_request_through_the_stack(stack: Project, capsys: pytest.CaptureFixture[str]) -> None:
    wait_live(stack)
    code = cli.main(["--project", str(stack.folder), "smoke"])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err


def test_up_fails_and_names_the_server_that_is_broken_on_purpose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.ensure(print)
    model = yaml.safe_load((ROOT / "stack.yaml").read_text(encoding="utf-8"))
    kept = {"prometheus", "alertmanager", "probe", "receiver", "loki", "jaeger"}
    model["project"] = f"lookout-test-{os.getpid()}-broken"
    model["services"] = [
        {"name": "itself", "owner": "web", "address": f"receiver:{model['servers']['receiver']['port']}"}
    ]
    model["servers"] = {name: server for name, server in model["servers"].items() if name in kept}
    model["servers"]["loki"]["memory"] = "6MiB"
    model["traces"]["stores"] = ["jaeger"]
    model["publish"]["ports"] = dict(zip(sorted(kept - {"probe"}), free_ports(5), strict=True))
    file, folder = tmp_path / "stack.yaml", tmp_path / "project"
    file.write_text(yaml.safe_dump(model), encoding="utf-8")
    arguments = ["--model", str(file), "--project", str(folder)]
    source = os.environ.get("IMAGES", "auto")
    try:
        code = cli.main([*arguments, "up", "--images", source, "--within", "40"])
        said = capsys.readouterr()
        assert code == 1, said.out + said.err
        assert "containers healthy: loki: is " in said.err
        assert "prometheus: is" not in said.err
    finally:
        assert cli.main([*arguments, "clean"]) == 0
    assert not folder.exists()


def test_data_survive_down_and_up(stack: Project) -> None:
    wait_live(stack)
    live, frontend = stack.live, f'{{project="{stack.stack.project}", service="frontend"}}'
    user = {"email": f"{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}
    accounts = live.url("platform-services")
    httpx.post(f"{accounts}/users", json=user, timeout=10).raise_for_status()
    trace_id = kept_trace_id()
    httpx.get(f"{accounts}/no-such-page", headers={"traceparent": kept_traceparent(trace_id)}, timeout=10)

    def traced() -> None:
        assert "platform-services" in live.trace(trace_id)

    poll_until(traced, "its trace", 60)
    logs_before = {line for _, line, _ in live.logs(frontend, 120, 20)}
    notices_before = len(live.notifications())
    stopped = time.time()

    stack.compose.down()
    assert not stack.compose.containers()
    subprocess.run([str(stack.folder / "bootstrap.sh")], check=True)
    wait_live(stack)

    def samples() -> None:
        if not live.query(f'up{{job="services", service="frontend"}} @ {stopped - 20:.0f}'):
            raise NotYet("the samples from before are gone")

    poll_until(samples, "samples from before", within=30)
    poll_until(traced, "the trace from before", within=60)
    assert logs_before
    assert logs_before <= {line for _, line, _ in live.logs(frontend, 600, 2000)}
    assert len(live.notifications()) >= notices_before
    assert httpx.post(f"{accounts}/session", json=user, timeout=10).status_code in (200, 201)
