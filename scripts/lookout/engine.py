"""The one place that calls ``docker`` and ``docker compose``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from .errors import MissingTool, Unsatisfied

NETWORK_GONE_WITHIN = 5
"""Seconds for the engine to let go of the networks of a project whose containers are gone."""

_SETUP = "run `make up`, or install Docker Engine 20.10+ and the Compose v2 plugin"


def run(
    *arguments: str,
    stdin: str | None = None,
    check: bool = True,
    cwd: Path | None = None,
    timeout: float | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs ``docker`` with the arguments; ``timeout`` in seconds.

    Raises MissingTool where there is no such command; Unsatisfied when its time is over, and, with its last words, when
    it fails and ``check`` is set.
    """
    if shutil.which("docker") is None:
        raise MissingTool(f"docker is not on this machine: {_SETUP}")
    try:
        done = subprocess.run(
            ["docker", *arguments], input=stdin, capture_output=True, text=True, cwd=cwd, timeout=timeout,
            env={**os.environ, **(env or {})}, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unsatisfied(f"docker {' '.join(arguments[:4])} … did not end within {timeout:.0f} s") from error
    if check and done.returncode != 0:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise Unsatisfied(f"docker {' '.join(arguments[:4])} … ended with {done.returncode}:\n{words}")
    return done


def silence() -> str | None:
    """Why no engine answers, in docker's last words. None where one does."""
    if shutil.which("docker") is None:
        return "docker is not on this machine"
    done = run("version", "--format", "{{.Server.Version}}", check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["docker gives no reason"])[-1]


def has_compose() -> bool:
    """Whether the docker command has the Compose v2 plugin. Raises MissingTool where there is no such command."""
    return run("compose", "version", check=False).returncode == 0


def require() -> None:
    """Raises MissingTool unless an engine answers and the Compose v2 plugin is there."""
    if why := silence():
        raise MissingTool(f"no Docker engine answers ({why}): {_SETUP}")
    if not has_compose():
        raise MissingTool(f"the Compose v2 plugin is missing: {_SETUP}")


@cache
def root() -> str:
    """The folder in which the engine keeps its containers."""
    return run("info", "--format", "{{.DockerRootDir}}").stdout.strip()


def architecture() -> str:
    """The architecture of the engine, as Go names it: ``amd64`` or ``arm64``."""
    return run("version", "--format", "{{.Server.Arch}}").stdout.strip()


def has_image(reference: str) -> bool:
    """Whether the engine's store holds an image of that name."""
    return run("image", "inspect", "--format", "{{.Id}}", reference, check=False).returncode == 0


def folders_of(project: str) -> set[str]:
    """The folders that containers of a compose project were started from."""
    label = "com.docker.compose.project"
    found = run(
        "ps", "--all", "--filter", f"label={label}={project}", "--format", f'{{{{.Label "{label}.working_dir"}}}}'
    )
    return set(found.stdout.split("\n")) - {""}


def has_volume(name: str) -> bool:
    """Whether the engine has a volume of that name."""
    return run("volume", "inspect", name, check=False).returncode == 0


def pull(reference: str) -> str | None:
    """Pulls an image. None when it worked, else the reason why not."""
    done = run("pull", "--quiet", reference, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def tool(
    image: str, entrypoint: str, arguments: Sequence[str], mounts: dict[Path, str], workdir: str = "/"
) -> subprocess.CompletedProcess[str]:
    """Runs a tool of an image once, for two minutes at most, without a network, with folders mounted read-only.

    ``mounts``: folder of this machine → where the tool sees it. Raises Unsatisfied when its time is over.
    """
    volumes = [word for host, inside in mounts.items() for word in ("--volume", f"{host.resolve()}:{inside}:ro")]
    return run(
        "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp:mode=1777",
        "--user", f"{os.getuid()}:{os.getgid()}", "--workdir", workdir, *volumes,
        "--entrypoint", entrypoint, image, *arguments,
        check=False, timeout=120,
    )  # fmt: skip


def inside(container: str, *command: str, stdin: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a running container, by its id or name, and gives it ``stdin``.

    Raises Unsatisfied when it takes more than half a minute.
    """
    return run("exec", "--interactive", container, *command, stdin=stdin, check=False, timeout=30)


def tail(container: str, lines: int = 8) -> str:
    """The last log lines of a container, by its id or name."""
    done = run("logs", "--tail", str(lines), container, check=False)
    return (done.stdout + done.stderr).strip()


def started(container: Mapping[str, Any]) -> float:
    """Unix time of the last start of a container, from what the engine says of it."""
    return moment(container["State"]["StartedAt"])


def moment(text: str) -> float:
    """Unix time of a timestamp of the engine. That of what has not happened is of the year 1, long before 0."""
    return datetime.fromisoformat(text).timestamp()


class Compose:
    """A compose project in a folder."""

    def __init__(self, folder: Path, project: str) -> None:
        self.folder = folder
        self.project = project

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs ``docker compose`` on the project."""
        return run(*self._command(*arguments), check=check, cwd=self.folder, env=self._environment())

    def _command(self, *arguments: str) -> tuple[str, ...]:
        return ("compose", "--project-name", self.project, "--file", str(self.folder / "compose.yaml"), *arguments)

    @staticmethod
    def _environment() -> dict[str, str]:
        return {"DOCKER_ROOT": root()}

    def follow(self, containers: Sequence[str]) -> int:
        """Prints the logs of containers as they come, until interrupted. Returns docker's exit code."""
        command = ["docker", *self._command("logs", "--follow", "--tail", "50", *containers)]
        return subprocess.run(command, env={**os.environ, **self._environment()}, check=False).returncode

    def down(self, *arguments: str) -> dict[str, list[str]]:
        """Removes the containers and networks of the project, also those that its file names no more.

        Returns the networks that stay, with the names of containers of somebody else's in them. One that holds none
        is miscounted by the engine: 20.10 was seen to refuse its removal until it is started anew. The next ``up``
        uses it again.
        """
        deadline = time.monotonic() + NETWORK_GONE_WITHIN
        while True:
            done = self("down", "--remove-orphans", *arguments, check=False)
            if done.returncode != 0 and "has active endpoints" not in done.stderr:
                words = "\n".join(done.stderr.strip().splitlines()[-12:])
                raise Unsatisfied(f"docker compose down ended with {done.returncode}:\n{words}")
            if done.returncode == 0 or time.monotonic() > deadline:
                return self._networks()
            time.sleep(0.5)

    def _networks(self) -> dict[str, list[str]]:
        """The networks of the project, each with the names of the containers in it."""
        ids = run("network", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}").stdout
        found = json.loads(run("network", "inspect", *ids.split(), check=False).stdout) if ids else []
        return {network["Name"]: [endpoint["Name"] for endpoint in network["Containers"].values()] for network in found}

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each container of the project, by compose service name."""
        ids = run(
            "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}"
        ).stdout.split()
        if not ids:
            return {}
        inspected = run("inspect", *ids, check=False).stdout
        found = json.loads(inspected or "[]")
        return {
            container["Config"]["Labels"]["com.docker.compose.service"]: container
            for container in found
            if container["Config"]["Labels"].get("com.docker.compose.oneoff") != "True"
        }
