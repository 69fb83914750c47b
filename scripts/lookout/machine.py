"""Bringing up a fresh machine: a Docker engine and the Compose v2 plugin, where there are none and we may.

On Debian as root they come from Debian's packages, and the engine is started. Anywhere else, and on a machine that
already has an engine, nothing is changed: the error names the command to run.
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
_LOG: Final = ROOT / "build" / "dockerd.log"


def ensure(say: Callable[[str], None]) -> None:
    """Makes sure that an engine and the Compose v2 plugin answer.

    Raises MissingTool (exit 3) with the exact command where they are missing and cannot or must not be installed.
    """
    had_engine = engine.answers()
    if had_engine and engine.has_compose():
        return
    if had_engine:
        raise MissingTool(
            "this machine has a Docker engine without the Compose v2 plugin; install the plugin:\n"
            "  apt-get install -y docker-compose-plugin    (Docker's packages)\n"
            "  apt-get install -y docker-compose           (Debian 13 or newer)\n"
            "  apt-get install -y docker-compose-v2        (Ubuntu)"
        )
    if not _may_install():
        raise MissingTool(
            "no Docker engine answers on this machine; start it, or install Docker Engine 20.10+ with Compose v2:\n"
            "  systemctl start docker                      (installed, not running)\n"
            "  sudo make up                                (Debian: installs both from Debian's packages)\n"
            "  brew install --cask docker                  (macOS)"
        )
    missing = [] if shutil.which("dockerd") else ["docker.io", "iptables"]
    missing += [] if shutil.which("mmdebstrap") else ["mmdebstrap"]
    if missing:
        say(f"setup      installing {', '.join(missing)} from Debian's packages")
        _apt("update", "-qq")
        _apt("install", "-y", "-qq", "--no-install-recommends", *missing)
    # Before the engine is started: what fails here is tried again the next time.
    if not engine.has_compose():
        say("setup      installing the Compose v2 plugin from Debian's packages")
        with tempfile.TemporaryDirectory() as scratch:
            _call(["dpkg", "--install", str(packages.download("docker-compose", COMPOSE_MINIMUM, Path(scratch)))])
    say("setup      starting Docker Engine")
    _start()
    engine.require()


def _may_install() -> bool:
    release = Path("/etc/os-release")
    debian = release.exists() and "ID=debian" in release.read_text(encoding="utf-8").splitlines()
    return debian and os.geteuid() == 0


def _start() -> None:
    if Path("/run/systemd/system").exists():
        _call(["systemctl", "start", "docker"])
    else:
        _LOG.parent.mkdir(parents=True, exist_ok=True)
        with _LOG.open("ab") as log:
            # In a session of its own, and no child of ours: it outlives this process.
            subprocess.run(
                ["setsid", "--fork", "dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
            )

    def answer() -> None:
        if not engine.answers():
            raise NotYet("it does not answer")

    try:
        poll_until(answer, "starting dockerd", within=60)
    except Unsatisfied as error:
        words = "\n".join(_LOG.read_text(encoding="utf-8").splitlines()[-10:]) if _LOG.exists() else ""
        raise MissingTool(f"{error}\n{words}") from error


def _apt(*arguments: str) -> None:
    """Runs apt-get; waits for another that installs something just now, as on a machine that only just started."""
    _call(["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments])


def _call(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-10:])
        raise MissingTool(f"{' '.join(command)} ended with {done.returncode}:\n{words}")
