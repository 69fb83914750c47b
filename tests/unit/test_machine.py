"""Bringing up a fresh machine, which scripts play: what is installed in each case, and what is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lookout import cli, machine, packages
from lookout.errors import MissingTool
from tests.unit.scripted import Scripted

SILENT = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DOCKER = f"""
case $1 in
  version) [ -e "$machine/running" ] || {{ echo Client: >&2; echo "{SILENT}" >&2; exit 1; }} ;;
  compose) [ -e "$machine/plugin" ] ;;
esac
"""
APT_GET = """
case "$*" in
  *indextargets*) [ ! -e "$machine/lists" ] || echo "Debian http://mirror.test/debian/" ;;
  *update*) : >"$machine/lists" ;;
  *install*) for name; do case $name in
    docker.io) bring dockerd; [ -e "$machine/debian-13" ] || bring docker ;;
    docker-cli) bring docker ;;
    iptables|mmdebstrap) bring "$name" ;;
  esac; done ;;
esac
"""
UPDATE = "apt-get -o DPkg::Lock::Timeout=120 update -qq"
INSTALL = "apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends"
PLUGIN = "dpkg --install docker-compose.deb"
START = ["setsid --fork dockerd", "dockerd "]
ENGINE = ("docker", "dockerd", "iptables")


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for remembered in (packages.mirror, packages.go):
        remembered.cache_clear()
    yield
    for remembered in (packages.mirror, packages.go):
        remembered.cache_clear()


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Debian as root, without an engine or anything of it."""
    scripted = Scripted(tmp_path, monkeypatch)
    scripted.offer(
        docker=DOCKER,
        dockerd=': >"$machine/running"',
        iptables="",
        setsid='shift; "$@"',
        systemctl=': >"$machine/running"',
        apt_get=APT_GET,
        dpkg=': >"$machine/plugin"',
        dpkg_query='[ ! -e "$machine/docker-compose-1" ] || printf installed',
        mmdebstrap="",
    )
    scripted.has("apt-get", "dpkg", "dpkg-query", "setsid", "systemctl")
    (tmp_path / "os-release").write_text("NAME=Debian\nID=debian\n", encoding="utf-8")
    monkeypatch.setattr(packages, "_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(packages, "download", lambda package, *_rest: Path(f"{package}.deb"))
    monkeypatch.setattr(machine, "_LOG", tmp_path / "dockerd.log")
    monkeypatch.setattr(machine, "_SYSTEMD", tmp_path / "systemd")
    monkeypatch.setattr(machine, "START_WITHIN", 0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return scripted


def stranger(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same Debian, not as root."""
    assert scripted.folder
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def ubuntu(scripted: Scripted, _monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, and no Debian."""
    (scripted.folder / "os-release").write_text("ID=ubuntu\nID_LIKE=debian\n", encoding="utf-8")


Elsewhere = Callable[[Scripted, pytest.MonkeyPatch], None]


def quiet(_text: str) -> None:
    """Says nothing."""


def changes(scripted: Scripted) -> list[str]:
    """What was done to the machine: the questions to docker and dpkg-query left out."""
    return [call for call in scripted.calls(but="docker") if not call.startswith("dpkg-query")]


def refused() -> str:
    """The words with which `ensure` refuses, with exit code 3."""
    with pytest.raises(MissingTool) as error:
        machine.ensure(quiet)
    assert error.value.exit_code == 3
    return str(error.value)


def test_an_engine_with_compose_that_answers_is_left_alone(debian: Scripted) -> None:
    debian.has("docker")
    (debian.folder / "running").touch()
    (debian.folder / "plugin").touch()
    machine.ensure(quiet)
    assert changes(debian) == []


def test_where_there_is_nothing_all_of_it_is_installed_and_started(debian: Scripted) -> None:
    said: list[str] = []
    machine.ensure(said.append)
    assert changes(debian) == [UPDATE, f"{INSTALL} docker.io iptables", PLUGIN, *START]
    assert said == [
        "setup      installing docker.io, iptables from Debian's packages",
        "setup      installing the Compose v2 plugin from Debian's packages",
        "setup      starting Docker Engine",
    ]


def test_where_the_package_of_the_engine_is_without_the_command_that_is_installed_too(debian: Scripted) -> None:
    (debian.folder / "debian-13").touch()
    machine.ensure(quiet)
    assert changes(debian) == [
        *(UPDATE, f"{INSTALL} docker.io iptables"),
        *(UPDATE, f"{INSTALL} docker-cli"),
        *(PLUGIN, *START),
    ]


def test_where_there_is_the_command_alone_the_engine_is_installed(debian: Scripted) -> None:
    debian.has("docker")
    machine.ensure(quiet)
    assert changes(debian) == [UPDATE, f"{INSTALL} docker.io iptables", PLUGIN, *START]


def test_an_engine_that_does_not_run_is_started_and_nothing_else(debian: Scripted) -> None:
    debian.has(*ENGINE)
    (debian.folder / "plugin").touch()
    machine.ensure(quiet)
    assert changes(debian) == START


def test_where_there_is_systemd_it_starts_the_engine(debian: Scripted) -> None:
    debian.has(*ENGINE)
    (debian.folder / "plugin").touch()
    (debian.folder / "systemd").touch()
    machine.ensure(quiet)
    assert changes(debian) == ["systemctl start docker"]


def test_an_engine_that_does_not_run_and_lacks_what_it_needs_gets_that_and_is_started(debian: Scripted) -> None:
    debian.has("docker", "dockerd")
    machine.ensure(quiet)
    assert changes(debian) == [UPDATE, f"{INSTALL} iptables", PLUGIN, *START]


def test_an_engine_that_runs_without_compose_gets_the_plugin_alone(debian: Scripted) -> None:
    debian.has("docker")
    (debian.folder / "running").touch()
    machine.ensure(quiet)
    assert changes(debian) == [PLUGIN]


def test_another_docker_compose_is_not_replaced(debian: Scripted) -> None:
    debian.has(*ENGINE)
    (debian.folder / "docker-compose-1").touch()
    assert "has no Compose v2 plugin, and is not replaced; install the plugin:\n  apt-get install" in refused()
    assert changes(debian) == []


@pytest.mark.parametrize("programs", [(), ("docker",), ENGINE], ids=["nothing", "command", "engine"])
def test_an_engine_elsewhere_that_does_not_answer_is_named_and_nothing_is_changed(
    debian: Scripted, monkeypatch: pytest.MonkeyPatch, programs: tuple[str, ...]
) -> None:
    debian.has(*programs)
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.9:2375")
    why = SILENT if programs else "docker is not on this machine"
    assert refused().startswith(f"DOCKER_HOST is tcp://10.0.0.9:2375, and no Docker engine answers there: {why}\n")
    assert changes(debian) == []


@pytest.mark.parametrize("elsewhere", [stranger, ubuntu])
def test_anywhere_else_nothing_is_changed_and_the_commands_are_named(
    debian: Scripted, monkeypatch: pytest.MonkeyPatch, elsewhere: Elsewhere
) -> None:
    elsewhere(debian, monkeypatch)
    assert refused().startswith("no Docker engine answers on this machine: docker is not on this machine\nstart it, or")
    debian.has("docker")
    words = refused()
    assert words.startswith(f"no Docker engine answers on this machine: {SILENT}\nstart it, or install")
    assert "\n  systemctl start docker " in words
    (debian.folder / "running").touch()
    assert refused().startswith("this machine has a Docker engine without the Compose v2 plugin; install the plugin:\n")
    assert changes(debian) == []


def test_who_may_not_ask_the_engine_is_told_so_in_dockers_words(
    debian: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger(debian, monkeypatch)
    denied = "permission denied while trying to connect to the Docker daemon socket"
    debian.offer(docker=f'echo "{denied}" >&2; exit 1')
    debian.has(*ENGINE)
    words = refused()
    assert words.startswith(f"no Docker engine answers on this machine: {denied}\n")
    assert 'usermod -aG docker "$USER"' in words


def test_what_cannot_be_installed_is_refused_with_apts_last_words(debian: Scripted) -> None:
    debian.offer(apt_get='case "$*" in *install*) echo "E: Unable to locate package docker.io" >&2; exit 100 ;; esac')
    assert refused() == f"{INSTALL} docker.io iptables ended with 100:\nE: Unable to locate package docker.io"
    assert START[0] not in changes(debian)


def test_an_engine_that_does_not_come_up_is_refused_with_its_last_words(debian: Scripted) -> None:
    debian.offer(dockerd="echo 'failed to start daemon: no iptables' >&2")
    debian.has(*ENGINE)
    (debian.folder / "plugin").touch()
    assert refused() == f"starting dockerd: not within 0 s; last: {SILENT}\nfailed to start daemon: no iptables"


def test_showing_images_changes_nothing(debian: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["images"]) == 3
    assert capsys.readouterr().err.startswith("no Docker engine answers (docker is not on this machine): run `make up`")
    assert changes(debian) == []


def test_the_program_that_makes_the_base_image_is_installed_when_one_is_made(
    debian: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        packages.bootstrap("trixie", tmp_path / "root.tar")
    made = f"mmdebstrap --quiet --variant=minbase trixie {tmp_path}/root.tar http://mirror.test/debian"
    assert [call for call in changes(debian) if "indextargets" not in call] == [
        *(UPDATE, f"{INSTALL} mmdebstrap"),
        *(made, made),
    ]
    (debian.bin / "mmdebstrap").unlink()
    stranger(debian, monkeypatch)
    with pytest.raises(MissingTool, match="needs mmdebstrap, which is not on this machine"):
        packages.bootstrap("trixie", tmp_path / "root.tar")


def test_where_apt_has_no_lists_they_are_read_or_the_command_for_it_is_named(
    debian: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stranger(debian, patched)
        with pytest.raises(MissingTool, match="run `apt-get update`"):
            packages.mirror()
    assert packages.mirror() == "http://mirror.test/debian"


@pytest.mark.parametrize(("version", "taken"), [("go1.26.5", True), ("go1.24.1", False), ("devel +abc", False)])
def test_go_is_that_of_the_machine_where_it_is_new_enough_and_else_debians(
    debian: Scripted, monkeypatch: pytest.MonkeyPatch, version: str, taken: bool
) -> None:
    monkeypatch.setattr(packages, "_CACHE", debian.folder / "packages")
    unpacked: list[str] = []
    monkeypatch.setattr(packages, "unpack", lambda package, *_rest: unpacked.append(package))
    debian.offer(go=f'echo "{version}"')
    debian.has("go")
    own = debian.folder / "packages/go/usr/lib/go-1.26/bin/go"
    assert packages.go() == str(debian.bin / "go" if taken else own)
    assert unpacked == ([] if taken else ["golang-1.26-src", "golang-1.26-go"])
