"""`up` fails as it should; data outlive a restart."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

import httpx
import pytest
import yaml

from lookout import cli, machine
from lookout.project import Project
from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.servers import kept_trace_id, kept_traceparent
from tests.integration.conftest import wait_live
from tests.ports import free_ports

pytestmark = pytest.mark.integration


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
