"""`status` says what is wrong, and names it; `smoke` follows a request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lookout import cli, engine
from lookout.project import Project
from lookout.render import ROOT
from tests.integration.conftest import wait_live

pytestmark = pytest.mark.integration


def status(stack: Project, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and words of the status command."""
    code = cli.main(["--project", str(stack.folder), "status"])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_status_of_a_live_stack_ends_with_0_and_the_addresses(
    stack: Project, capsys: pytest.CaptureFixture[str]
) -> None:
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
    with ThreadPoolExecutor(2) as pool:
        for name in stack.stack.containers:
            engine.run("kill", containers[name]["Id"])
            code, said = status(stack, capsys)
            if code != 1 or f"{name}: is exited" not in said:
                unnoticed[name] = f"{code}: {said}"
            pool.submit(engine.run, "start", containers[name]["Id"])
    assert not unnoticed
    wait_live(stack)


def test_smoke_follows_a_request_through_the_stack(stack: Project, capsys: pytest.CaptureFixture[str]) -> None:
    wait_live(stack)
    code = cli.main(["--project", str(stack.folder), "smoke"])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err


def test_logs_shows_what_a_container_wrote_until_it_is_interrupted(stack: Project) -> None:
    command = [sys.executable, "-m", "lookout", "--project", str(stack.folder), "logs", "postgres-setup"]
    environ = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True) as logs:
        assert logs.stdout is not None
        assert "postgres-setup" in logs.stdout.readline()
        os.killpg(logs.pid, signal.SIGINT)
        logs.communicate(timeout=20)
    assert logs.returncode in (0, 130)
