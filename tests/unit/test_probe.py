"""The health probe is a program in Go, with its own tests beside it."""

import os
import shutil
import subprocess

import pytest

from lookout.render import ROOT

PROBE = ROOT / "compose" / "images" / "probe"


@pytest.mark.parametrize("command", [["vet", "./..."], ["test", "-count=1", "./..."]], ids=["vet", "test"])
def test_the_probe_passes(command: list[str]) -> None:
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    environ = os.environ | {"GOPROXY": "off", "GOTOOLCHAIN": "local"}
    done = subprocess.run(["go", *command], cwd=PROBE, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
