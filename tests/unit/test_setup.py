"""`scripts/setup.sh` on fresh machines, which scripts play: no Python, an old one, one without its venv module."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lookout.render import ROOT
from tests.unit.scripted import Scripted

PYTHON = """
case "$*" in
  *version_info*) exit 0 ;;
  *ensurepip*) [ -e "$machine/venv" ] ;;
  "-m venv .venv") /bin/mkdir -p .venv/bin && /bin/ln -s "$machine/store/pip" .venv/bin/python ;;
esac
"""
OLD = 'case "$*" in *version_info*) exit 1 ;; esac'
INSTALL = [
    "apt-get update -qq",
    "apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends python3-venv",
]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """A checkout on Debian as root, without Python."""
    scripted = Scripted(tmp_path, monkeypatch)
    scripted.offer(python3=PYTHON, pip="", id="echo 0", apt_get='case "$*" in *install*) : >"$machine/venv" ;; esac')
    scripted.has("id", "apt-get")
    for tool in ("dirname", "cmp", "cp", "rm"):
        found = shutil.which(tool, path="/usr/bin:/bin")
        assert found
        (scripted.bin / tool).symlink_to(found)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts" / "setup.sh")
    (tmp_path / "requirements.lock").write_text("httpx==1\n", encoding="utf-8")
    return scripted


def setup(fresh: Scripted) -> tuple[int, str]:
    """Exit code and words of the script."""
    done = subprocess.run([fresh.folder / "scripts" / "setup.sh"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def changes(fresh: Scripted) -> list[str]:
    """What was done: the questions what Python there is, and who asks, left out."""
    return [call for call in fresh.calls(but="id") if not call.startswith("python3") or "venv .venv" in call]


MADE = ["python3 -m venv .venv"]
FILLED = ["pip -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock"]


def test_without_a_python_the_command_is_named_with_exit_code_3(fresh: Scripted) -> None:
    named = "setup: Python 3.11 or newer is needed; on Debian: apt-get install -y python3\n"
    assert setup(fresh) == (3, named)
    fresh.offer(python3=OLD)
    fresh.has("python3")
    assert setup(fresh) == (3, named)
    assert changes(fresh) == []


def test_a_newer_python_beside_an_old_one_is_taken(fresh: Scripted) -> None:
    fresh.offer(**{"python3": OLD, "python3.13": PYTHON})
    (fresh.folder / "venv").touch()
    fresh.has("python3", "python3.13")
    assert setup(fresh) == (0, "setup      Python environment in .venv\n")
    assert "python3.13 -m venv .venv" in changes(fresh)


def test_on_debian_as_root_the_venv_module_is_installed(fresh: Scripted) -> None:
    fresh.has("python3")
    assert setup(fresh) == (0, "setup      installing python3-venv\nsetup      Python environment in .venv\n")
    assert changes(fresh) == [*INSTALL, *MADE, *FILLED]


@pytest.mark.parametrize("lacks", ["root", "apt"])
def test_without_the_rights_or_apt_the_command_is_named_with_exit_code_3(fresh: Scripted, lacks: str) -> None:
    fresh.has("python3")
    if lacks == "root":
        fresh.offer(id="echo 1000")
    else:
        (fresh.bin / "apt-get").unlink()
    named = "setup: Python's venv module is missing; on Debian run: apt-get install -y python3-venv\n"
    assert setup(fresh) == (3, named)
    assert changes(fresh) == []


def test_it_is_made_once_and_again_only_for_another_lock(fresh: Scripted) -> None:
    fresh.has("python3")
    (fresh.folder / "venv").touch()
    for _ in range(2):
        assert setup(fresh)[0] == 0
    assert changes(fresh) == MADE + FILLED
    (fresh.folder / "requirements.lock").write_text("httpx==2\n", encoding="utf-8")
    assert setup(fresh)[0] == 0
    assert changes(fresh) == (MADE + FILLED) * 2


def test_an_environment_that_could_not_be_filled_is_made_anew(fresh: Scripted) -> None:
    fresh.has("python3")
    (fresh.folder / "venv").touch()
    fresh.offer(pip="echo 'no such wheel' >&2; exit 1")
    assert setup(fresh) == (1, "setup      Python environment in .venv\nno such wheel\n")
    fresh.offer(pip="")
    assert setup(fresh)[0] == 0
    assert changes(fresh) == (MADE + FILLED) * 2
