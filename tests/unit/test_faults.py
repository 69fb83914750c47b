"""The commands of faults, against a real listener; the engine is played by a script that runs what it is given."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lookout import cli, engine
from lookout.model import load, stack
from lookout.project import Project
from lookout.render import ROOT, render
from telemetry.faults import Faults, effects
from telemetry.faults.listener import Listener

RUNNING = [
    {
        "Id": service,
        "State": {"Status": state},
        "Config": {"Labels": {"com.docker.compose.service": service}},
    }
    for service, state in (("frontend", "running"), ("api-gateway", "running"), ("saga-orchestrator", "exited"))
]


def write_project(folder: Path, **overlay: object) -> Path:
    """A project as `up` leaves it, of the model with an overlay."""
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    model = load([ROOT / "stack.yaml", folder / "overlay.yaml"])
    state = {"stack": model.model_dump(mode="json", by_alias=True), "images": {}, "model": []}
    (folder / ".lookout.json").write_text(json.dumps(state), encoding="utf-8")
    return folder


@pytest.fixture
def faults() -> Faults:
    """Those of the service behind the listener."""
    found = Faults()
    found.declare("redis")
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults) -> Iterator[Path]:
    """A project with faults, whose containers all have the listener of one service."""
    script = tmp_path / "docker"
    script.write_text(
        f"""#!/bin/sh
case "$1" in
  version|compose) exit 0 ;;
  ps) echo one ;;
  inspect) cat {tmp_path}/containers.json ;;
  exec) shift 3; shift; exec {sys.executable} "$@" ;;
esac
""",
        encoding="utf-8",
    )
    script.chmod(0o755)
    (tmp_path / "containers.json").write_text(json.dumps(RUNNING), encoding="utf-8")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engine, "root", lambda: "/var/lib/docker")
    listening, over = threading.Event(), threading.Event()
    listener = Listener(0, faults)

    async def serve() -> None:
        async with listener:
            listening.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert listening.wait(10)
    monkeypatch.setattr(stack, "FAULTS_PORT", listener.port)
    yield write_project(tmp_path, faults=True)
    over.set()
    thread.join()


def say(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and words of a command; lines of the listener's log, which come when they come, are left out."""
    code = cli.main(["--project", str(folder), *arguments])
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines(keepends=True)
    return code, "".join(line for line in lines if not line.startswith('{"timestamp"'))


def test_a_fault_is_started_listed_and_cleared(
    folder: Path, faults: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = say(folder, capsys, "fault", "frontend", "errors", "--share", "0.5", "--seconds", "30")
    assert code == 0
    assert "frontend: errors, share 0.5, 30 s left; " in said
    assert [fault["kind"] for fault in faults.bodies()] == ["errors"]
    code, said = say(folder, capsys, "faults", "frontend")
    assert code == 0
    assert "errors, share 0.5, " in said
    assert "can have: errors, delay" in said
    assert say(folder, capsys, "faults", "--clear", "frontend")[0] == 0
    assert faults.bodies() == []


def test_a_delay_is_told_once_and_a_crash_is_not_said_to_last(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = say(folder, capsys, "fault", "frontend", "delay", "--delay", "5")
    assert code == 0
    assert "frontend: delay 5 s, share 1, 60 s left; `lookout faults --clear` ends it\n" in said
    monkeypatch.setattr(effects, "_exit", lambda: None)
    code, said = say(folder, capsys, "fault", "frontend", "crash")
    assert code == 0
    assert "frontend: crash, the process ends at once\n" in said


def test_a_service_that_does_not_run_hides_no_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = say(folder, capsys, "faults")
    assert code == 1
    assert "frontend             none" in said
    assert "saga-orchestrator does not run" in said
    assert say(folder, capsys, "fault", "saga-orchestrator", "crash")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("frontent", "crash"), '"frontent" is no service that takes faults: did you mean "frontend"?'),
        (("prometheus", "crash"), "known are: frontend, api-gateway"),
        (("frontend", "error"), "there is no kind 'error': did you mean \"errors\"?"),
        (("frontend", "delay"), "delay is required: a number from 0.001 to 120 (seconds)"),
        (("frontend", "unreachable"), "dependency is required: redis"),
        (("frontend", "crash", "--share", "1"), "crash takes no 'share'"),
        (("frontend", "errors", "--seconds", "1e9"), "give a number from 1 to 1800 (seconds)"),
        (("frontend", "unreachable", "--dependency", "reddis"), 'did you mean "redis"?'),
        (("frontend", "token_burn", "--factor", "5"), "token_burn has no place in this service"),
    ],
)
def test_what_cannot_be_is_wrong_usage_and_says_what_can(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, said = say(folder, capsys, "fault", *arguments)
    assert code == 2, said
    assert words in said


def test_a_service_outside_the_bundle_cannot_be_made_to_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = {"name": "billing", "owner": "sales", "address": "b.internal:9400"}
    write_project(folder, faults=True, services=[outside])
    code, said = say(folder, capsys, "fault", "billing", "crash")
    assert (code, said.strip()) == (2, "billing runs outside the bundle: Lookout has no way to make it fail")


def test_a_model_without_a_service_in_the_bundle_has_nothing_to_make_fail(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = json.loads((folder / ".lookout.json").read_text(encoding="utf-8"))
    state["stack"]["services"] = [{"name": "billing", "owner": "sales", "address": "b.internal:9400"}]
    (folder / ".lookout.json").write_text(json.dumps(state), encoding="utf-8")
    code, said = say(folder, capsys, "faults")
    assert (code, said.strip().split(",")[0]) == (2, "no service of this model runs in the bundle")


@pytest.mark.parametrize("command", [("fault", "frontend", "crash"), ("faults",), ("faults", "--clear")])
def test_faults_that_are_off_are_wrong_usage_and_say_how_to_turn_them_on(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    write_project(folder)
    code, said = say(folder, capsys, *command)
    assert code == 2
    assert "faults are off in the model of this stack: put `faults: true` into it" in said


def test_the_listener_is_rendered_only_where_the_model_turns_it_on(tmp_path: Path) -> None:
    for on in (False, True):
        project = Project(load([ROOT / "stack.yaml", write_project(tmp_path, faults=on) / "overlay.yaml"]), tmp_path)
        compose = yaml.safe_load(render(project.stack)["compose.yaml"])
        services = {service.name for service in project.stack.bundled}
        given = {name for name, one in compose["services"].items() if "FAULTS_PORT" in (one.get("environment") or {})}
        assert given == (services if on else set())
        published = str([one.get("ports") for one in compose["services"].values()])
        assert str(stack.FAULTS_PORT) not in published
