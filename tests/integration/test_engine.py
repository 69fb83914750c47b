"""Taking a project down, and starting one beside others: nothing is left, and what is somebody else's is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lookout import engine, project
from lookout.engine import Compose
from lookout.errors import WrongUsage
from lookout.project import Project
from lookout.render import ROOT
from tests.integration.conftest import overlay_of

pytestmark = pytest.mark.integration

FOREVER = ["python", "-c", "import signal; signal.pause()"]


@pytest.fixture
def image(prepared: Project) -> str:
    """An image that this machine has."""
    return project.images_of(prepared.folder)["services"].reference


@pytest.fixture
def small(image: str, tmp_path: Path) -> Iterator[Compose]:
    """A running project of one container and one network."""
    name = f"lookout-test-{os.getpid()}-small"
    model = {"services": {"one": {"image": image, "entrypoint": FOREVER, "init": True, "networks": ["only"]}}}
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump({**model, "networks": {"only": {}}}), encoding="utf-8")
    compose = Compose(tmp_path, name)
    compose("up", "--detach")
    yield compose
    compose.down("--volumes")


def networks(compose: Compose) -> list[str]:
    """Names of the networks of a project."""
    label = f"label=com.docker.compose.project={compose.project}"
    return engine.run("network", "ls", "--format", "{{.Name}}", "--filter", label).stdout.split()


def test_down_leaves_neither_containers_nor_networks(small: Compose) -> None:
    assert len(networks(small)) == len(small.containers()) == 1
    assert list(small.down()) == networks(small)
    assert not small.containers()


def test_down_names_a_container_of_somebody_else_in_the_network_and_leaves_it_alone(small: Compose, image: str) -> None:
    stranger = f"{small.project}-stranger"
    engine.run(
        "run", "--detach", "--rm", "--init", "--name", stranger, "--network", networks(small)[0], image, *FOREVER
    )
    try:
        assert small.down() == {networks(small)[0]: [stranger]}
        assert engine.run("inspect", "--format", "{{.State.Running}}", stranger).stdout.strip() == "true"
    finally:
        engine.run("rm", "--force", stranger)


def prepare(name: str, folder: Path) -> Project:
    """A project of that name, prepared in a folder."""
    return project.prepare([ROOT / "stack.yaml", overlay_of(name, folder)], folder / "project", "auto", False, print)


def test_a_name_that_runs_from_another_folder_is_refused(small: Compose, tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=f'the project "{small.project}" was started from {small.folder}') as refused:
        prepare(small.project, tmp_path / "another")
    assert "make down" in str(refused.value)
    assert not (tmp_path / "another" / "project").exists()


def test_data_of_passwords_that_the_folder_does_not_have_are_refused(tmp_path: Path) -> None:
    name = f"lookout-test-{os.getpid()}-left"
    volume = f"{name}_postgres-data"
    engine.run("volume", "create", volume)
    try:
        with pytest.raises(WrongUsage, match=f"docker volume rm {volume}"):
            prepare(name, tmp_path)
    finally:
        engine.run("volume", "rm", volume)
    assert not (tmp_path / "project").exists()
