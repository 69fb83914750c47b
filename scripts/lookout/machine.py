"""Bringing up a fresh machine: a Docker engine and the Compose v2 plugin, where there are none and we may.

On Debian as root what is missing comes from Debian's packages, and an engine that is installed and does not run is
started. What is there is neither replaced nor upgraded. Anywhere else, and where DOCKER_HOST names an engine, nothing
is changed: the error names the command to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import engine, packages
from .errors import MissingTool, Unsatisfied
from .render import ROOT
from .verify.polling import NotYet, poll_until

COMPOSE_MINIMUM: Final = "2.20"
START_WITHIN: Final = 60
"""Seconds for an engine that was started to answer."""

_LOG: Final = ROOT / "build" / "dockerd.log"
_SYSTEMD: Final = Path("/run/systemd/system")

_NO_ENGINE: Final = """start it, or install Docker Engine 20.10+ with Compose v2:
  systemctl start docker                      (installed, not running)
  sudo usermod -aG docker "$USER"             (permission denied; then log in anew)
  sudo make up                                (Debian: installs both from Debian's packages)
  brew install --cask docker                  (macOS)"""
_NO_COMPOSE: Final = """install the plugin:
  apt-get install -y docker-compose-plugin    (Docker's packages)
  apt-get install -y docker-compose           (Debian 13 or newer)
  apt-get install -y docker-compose-v2        (Ubuntu)"""


def ensure(say: Callable[[str], None]) -> None:
    """Makes sure that an engine and the Compose v2 plugin answer.

    Raises MissingTool (exit 3) with the exact command where they are missing and cannot or must not be installed.
    """
    silence = engine.silence()
    if silence is None and engine.has_compose():
        return
    host = os.environ.get("DOCKER_HOST")
    if silence and host:
        raise MissingTool(
            f"DOCKER_HOST is {host}, and no Docker engine answers there: {silence}\nstart it, or unset it"
        )
    if not packages.may_install():
        raise MissingTool(
            f"no Docker engine answers on this machine: {silence}\n{_NO_ENGINE}"
            if silence
            else f"this machine has a Docker engine without the Compose v2 plugin; {_NO_COMPOSE}"
        )
    if silence:
        _install_engine(say)
    # Before the engine is started: what fails here is tried again the next time.
    if not engine.has_compose():
        _install_compose(say)
    if silence:
        say("setup      starting Docker Engine")
        _start()
    engine.require()


def _install_engine(say: Callable[[str], None]) -> None:
    """Installs what is missing of the engine, what it cannot run without, and its command."""
    _install(say, {"dockerd": "docker.io", "iptables": "iptables"})
    _install(say, {"docker": "docker-cli"})  # afterwards: up to Debian 12 docker.io has the command, too


def _install(say: Callable[[str], None], wanted: dict[str, str]) -> None:
    """Installs the packages of those programs that are missing."""
    missing = [package for program, package in wanted.items() if shutil.which(program) is None]
    if missing:
        say(f"setup      installing {', '.join(missing)} from Debian's packages")
        packages.install(*missing)


def _install_compose(say: Callable[[str], None]) -> None:
    if packages.installed("docker-compose"):
        raise MissingTool(
            f"the package docker-compose here has no Compose v2 plugin, and is not replaced; {_NO_COMPOSE}"
        )
    say("setup      installing the Compose v2 plugin from Debian's packages")
    with tempfile.TemporaryDirectory() as scratch:
        archive = packages.download("docker-compose", COMPOSE_MINIMUM, Path(scratch))
        packages.change("dpkg", "--install", str(archive))


def _start() -> None:
    if _SYSTEMD.exists():
        packages.change("systemctl", "start", "docker")
    else:
        _LOG.parent.mkdir(parents=True, exist_ok=True)
        with _LOG.open("ab") as log:
            # In a session of its own, and no child of ours: it outlives this process.
            subprocess.run(
                ["setsid", "--fork", "dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
            )

    def answer() -> None:
        if why := engine.silence():
            raise NotYet(why)

    try:
        poll_until(answer, "starting dockerd", within=START_WITHIN)
    except Unsatisfied as error:
        words = "\n".join(_LOG.read_text(encoding="utf-8").splitlines()[-10:]) if _LOG.exists() else ""
        raise MissingTool(f"{error}\n{words}") from error
