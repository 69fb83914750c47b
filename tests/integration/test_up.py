"""`up` ends as it should, well and badly; data outlive a restart."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from lookout import cli, engine
from lookout.project import Project, opened
from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.servers import kept_trace_id, kept_traceparent
from tests.integration.conftest import OFTEN, wait_live
from tests.ports import free_ports

pytestmark = pytest.mark.integration


def small(name: str) -> dict[str, Any]:
    """A model of a few servers, with one of them in the place of the services."""
    model: dict[str, Any] = yaml.safe_load((ROOT / "stack.yaml").read_text(encoding="utf-8"))
    kept = {"prometheus", "alertmanager", "probe", "receiver", "loki", "jaeger"}
    model["project"] = f"lookout-test-{os.getpid()}-{name}"
    model["services"] = [
        {"name": "itself", "owner": "web", "address": f"receiver:{model['servers']['receiver']['port']}"}
    ]
    model["servers"] = {name: server for name, server in model["servers"].items() if name in kept}
    model["scrape"] |= OFTEN
    model["traces"]["stores"] = ["jaeger"]
    model["publish"]["ports"] = dict(zip(sorted(kept - {"probe"}), free_ports(5), strict=True))
    return model


@contextmanager
def written(model: dict[str, Any], folder: Path) -> Iterator[list[str]]:
    """Arguments of commands on a project of that model in ``folder``, which is cleaned away."""
    file, project = folder / "stack.yaml", folder / "project"
    file.write_text(yaml.safe_dump(model), encoding="utf-8")
    arguments = ["--model", str(file), "--project", str(project)]
    try:
        yield arguments
    finally:
        assert cli.main([*arguments, "clean"]) == 0
    assert not project.exists()


UP = ("up", "--images", os.environ.get("IMAGES", "auto"))


def test_up_fails_and_names_the_server_that_is_broken_on_purpose_with_its_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small("broken")
    model["servers"]["loki"]["port"] = 9096  # where it takes gRPC, too
    with written(model, tmp_path) as arguments:
        code = cli.main([*arguments, *UP, "--within", "40"])
        said = capsys.readouterr()
        assert code == 1, said.out + said.err
        assert "containers healthy: loki: is " in said.err
        assert "prometheus: is" not in said.err
        assert "9096: bind: address already in use" in said.err


def test_up_ends_with_0_and_the_addresses_and_so_does_another_with_a_changed_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, overlay = small("small"), tmp_path / "overlay.yaml"
    overlay.write_text("alerts: {error_rate: {above: 7%}}\n", encoding="utf-8")
    volume = f"{model['project']}_prometheus-data"
    with written(model, tmp_path) as arguments:
        assert cli.main([*arguments, *UP]) == 0
        said = capsys.readouterr().out
        running = opened(tmp_path / "project")
        assert "FAIL" not in said
        assert [name for name in model["publish"]["ports"] if f" {running.live.url(name)}\n" not in said] == []
        assert "login" not in said, "Grafana is not there"

        def threshold() -> str:
            rules = {rule["name"]: rule["query"] for group in running.live.rules() for rule in group["rules"]}
            return str(rules["HighErrorRate"]).rpartition(" ")[2]

        assert threshold() == "5"
        assert cli.main([*arguments, "--model", str(overlay), *UP]) == 0
        assert threshold() == "7"
        assert cli.main([*arguments, "status"]) == 0
        assert cli.main([*arguments, "down"]) == 0
        assert not running.compose.containers()
        assert engine.has_volume(volume)
    assert not engine.has_volume(volume)


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
    notice_before = live.notifications()[-1]
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
    assert notice_before in live.notifications()
    assert httpx.post(f"{accounts}/session", json=user, timeout=10).status_code in (200, 201)
