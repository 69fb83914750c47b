"""One stack for each test process: a copy of the rendered project in an empty folder, with its own name and ports."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testcontainers.compose import DockerCompose

from lookout import engine, images, machine, project
from lookout.images import Choice, Effective
from lookout.model import Stack, load
from lookout.project import Project
from lookout.render import ROOT
from tests.ports import free_ports

OFTEN = {"standard": {"interval": "5s", "timeout": "4s"}}
"""Scrapes of a stack for tests, which wait for many of them; `make bench` measures what the model says."""

SOURCE = images.parse_source(os.environ.get("IMAGES", "auto"))
"""Where images may come from."""

LIVE_WITHIN = 180
"""Seconds that a stack may take to become live, on a machine that is busy with other things too."""


def overlay_of(name: str, folder: Path, **changes: Any) -> Path:
    """An overlay that gives the project a name and free ports."""
    published = load([ROOT / "stack.yaml"]).publish.ports
    ports = dict(zip(published, free_ports(len(published)), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    overlay = folder / f"{name}.yaml"
    overlay.write_text(yaml.safe_dump({"project": name, "publish": {"ports": ports}, **changes}), encoding="utf-8")
    return overlay


@pytest.fixture(scope="session")
def said() -> list[str]:
    """What building the stack said: images, what was left out and why."""
    return []


@pytest.fixture(scope="session")
def prepared(said: list[str]) -> Iterator[Project]:
    """The project as this machine can run it, rendered; nothing runs yet."""

    def say(text: str) -> None:
        said.append(text)
        print(text, flush=True)

    machine.ensure(say)
    name = f"lookout-test-{os.getpid()}"
    overlay = overlay_of(name, ROOT / "build" / "test", faults=True, scrape=OFTEN)
    ready = project.prepare([ROOT / "stack.yaml", overlay], ROOT / "build" / "test" / name, SOURCE, False, say)
    yield ready
    shutil.rmtree(ready.folder)
    overlay.unlink()


@pytest.fixture(scope="session")
def every_image(prepared: Project) -> dict[str, Choice]:
    """Every image of the model, obtained where this machine can have it, also where no server here runs from it."""
    model = load([ROOT / "stack.yaml"])
    assert prepared.stack.images == model.images
    return images.obtain(model, [name for name in model.images if name != "debian"], SOURCE, print)


def with_images(model: Stack, choices: dict[str, Choice]) -> Effective:
    """A model as it is, with the images that this machine has for it."""
    had = {name: choice.use for name, choice in choices.items() if choice.use is not None}
    return Effective(model, had, tuple(choices.values()), (), ())


class Copy(DockerCompose):
    """A copied project as testcontainers starts it; taken down as `make clean` does."""

    def __init__(self, running: Project) -> None:
        super().__init__(str(running.folder), compose_file_name="compose.yaml", pull=False, build=False, wait=False)
        self.running = running

    def stop(self, down: bool = True) -> None:
        """Ends the containers; with ``down`` removes them, their networks and their data."""
        if down:
            print("networks kept by the engine:", self.running.compose.down("--volumes"))
        else:
            super().stop(down=False)


@pytest.fixture(scope="session")
def started(prepared: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The running stack: started from a copy of its folder by its bootstrap script and Compose alone."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(prepared.folder, folder, ignore=shutil.ignore_patterns("secrets"))
    running = Project(prepared.stack, folder)
    subprocess.run([str(folder / "bootstrap.sh"), "secrets"], check=True)
    with Copy(running):
        yield running


@pytest.fixture(scope="module")
def stack(started: Project) -> Project:
    """The running stack, live at the beginning of each file: what the one before did to it is over."""
    wait_live(started)
    return started


def wait_live(running: Project) -> None:
    """Until all of a stack is seen live; fails with what is not."""
    verdicts = project.wait_until_live(running, LIVE_WITHIN, print)
    assert all(verdict.ok for verdict in verdicts), project.failures(running, verdicts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failed test on the stack shows the state of its containers and the last lines of those that are not well."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(running, Project):
        report.sections.append(("containers", describe(running)))
    return report


def describe(running: Project) -> str:
    """State, health and, where they are not well, last log lines of all containers."""
    lines: list[str] = []
    for name, container in sorted(running.compose.containers().items()):
        state = container["State"]
        health = state.get("Health", {}).get("Status", "-")
        lines.append(f"{name:<22} {state['Status']:<10} {health:<10} restarts {container['RestartCount']}")
        if name not in running.stack.one_shots and (state["Status"] != "running" or health != "healthy"):
            lines += [f"    {line}" for line in engine.tail(container["Id"]).splitlines()]
    return "\n".join(lines)
