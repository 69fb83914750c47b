"""What recipes are made of, from the package registries that this machine is set up for: Debian, Go, PyPI.

Addresses are never written down here: Debian's mirror is the one that apt uses, the others are their clients' own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from . import engine
from .errors import MissingTool, Unsatisfied
from .render import ROOT

UNSTABLE: Final = "sid"
GO_SERIES: Final = "1.26"
"""The Go that the recipes' modules ask for, and Debian's name of it."""

WHEELS: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architecture of the engine → the word for it in the names of wheels."""

_CACHE: Final = ROOT / "build" / "packages"
_RELEASE: Final = Path("/etc/os-release")
_APT: Final = ("apt-get", "-o", "DPkg::Lock::Timeout=120")
"""Waits for another that installs something just now, as on a machine that only just started."""


def run(command: Sequence[str], what: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a program of this machine for a step ``what``; what it wrote to its output.

    Raises MissingTool where there is no such program, and Unsatisfied, with its last words, when it fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    except FileNotFoundError as error:
        raise MissingTool(
            f"{what} needs {command[0]}, which is not on this machine; images that cannot be pulled are built "
            f"on Debian (apt-get install -y {command[0]})"
        ) from error
    if done.returncode != 0:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise Unsatisfied(f"{what} failed with {done.returncode}:\n{words}")
    return done.stdout


def may_install() -> bool:
    """Whether packages may be installed on this machine: on Debian, as root."""
    return os.geteuid() == 0 and _RELEASE.exists() and "ID=debian" in _RELEASE.read_text(encoding="utf-8").splitlines()


def installed(name: str) -> bool:
    """Whether this machine has a package of Debian, of whatever version."""
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "installed"


def install(*names: str) -> None:
    """Installs packages of this machine's Debian, without those that they only recommend.

    Raises MissingTool, with apt's last words, when it fails.
    """
    update()
    change(*_APT, "install", "-y", "-qq", "--no-install-recommends", *names)


def update() -> None:
    """Reads apt's lists of packages anew. Raises MissingTool, with apt's last words, when it fails."""
    change(*_APT, "update", "-qq")


def change(*command: str) -> None:
    """Runs a command that changes this machine. Raises MissingTool, with its last words, when it fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-10:])
        raise MissingTool(f"{' '.join(command)} ended with {done.returncode}:\n{words}")


@cache
def mirror() -> str:
    """The Debian mirror of this machine. Raises MissingTool where apt has none."""
    found = _mirror()
    if found is None and may_install():
        update()  # images of Debian come without lists, and so without the names in them
        found = _mirror()
    if found is None:
        raise MissingTool(
            "apt knows no mirror of Debian here (run `apt-get update`); local images are built from Debian's packages"
        )
    return found


def _mirror() -> str | None:
    targets = run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"],
        "finding Debian's mirror",
    )
    for line in targets.splitlines():
        origin, _, address = line.partition(" ")
        if origin == "Debian" and "security" not in address:
            return address.rstrip("/")
    return None


def bootstrap(suite: str, archive: Path) -> None:
    """Makes an archive of a minimal Debian of that suite; the program for it is installed where it is missing."""
    if shutil.which("mmdebstrap") is None and may_install():
        install("mmdebstrap")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", suite, str(archive), mirror()]
    run(command, f"bootstrapping Debian {suite}")


@cache
def _unstable() -> tuple[str, ...]:
    """apt options of a private package index of Debian unstable, which leaves the machine's own apt alone."""
    for folder in ("lists/partial", "cache/archives/partial", "etc"):
        (_CACHE / folder).mkdir(parents=True, exist_ok=True)
    sources = _CACHE / "etc" / "sources.list"
    sources.write_text(f"deb {mirror()} {UNSTABLE} main\n", encoding="utf-8")
    options = (
        "-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=/dev/null",
        "-o", f"Dir::State::lists={_CACHE}/lists", "-o", f"Dir::Cache={_CACHE}/cache",
        "-o", "Dir::State::status=/dev/null", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
    )  # fmt: skip
    run(["apt-get", *options, "--quiet", "update"], "reading the index of Debian unstable")
    return options


def download(package: str, minimum: str, folder: Path) -> Path:
    """Downloads a package of Debian unstable. Raises Unsatisfied when it is older than ``minimum`` there."""
    shown = run(["apt-cache", *_unstable(), "show", "--no-all-versions", package], f"looking up {package}")
    version = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
    if version is None:
        raise Unsatisfied(f"Debian unstable has no package {package}")
    if subprocess.run(["dpkg", "--compare-versions", version[1], "ge", minimum], check=False).returncode != 0:
        raise Unsatisfied(f"{package} is {version[1]} in Debian unstable; the recipe needs {minimum} or newer")
    run(
        ["apt-get", *_unstable(), "--quiet", "download", f"{package}={version[1]}"],
        f"downloading {package}",
        cwd=folder,
    )
    return next(folder.glob(f"{package}_*.deb"))


def unpack(package: str, minimum: str, files: Mapping[str, str], rootfs: Path) -> None:
    """Puts files of a package of Debian unstable into ``rootfs``."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = download(package, minimum, Path(scratch))
        content = Path(scratch, "content")
        run(["dpkg-deb", "--extract", str(archive), str(content)], f"unpacking {package}")
        for source, target in files.items():
            if not (content / source).exists():
                raise Unsatisfied(f"{package} has no file {source}")
            (rootfs / target).parent.mkdir(parents=True, exist_ok=True)
            if (content / source).is_dir():
                shutil.copytree(content / source, rootfs / target, dirs_exist_ok=True, symlinks=True)
            else:
                shutil.copy2(content / source, rootfs / target)


@cache
def go() -> str:
    """The path of a Go that is new enough: the machine's, else Debian unstable's, unpacked in build/."""
    found = shutil.which("go")
    if found:
        words = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        with contextlib.suppress(ValueError):
            if tuple(map(int, words.strip().removeprefix("go").split(".")[:2])) >= tuple(
                map(int, GO_SERIES.split("."))
            ):
                return found
    if shutil.which("apt-get") is None:
        raise MissingTool(f"building images needs Go {GO_SERIES} or newer: install it and put it on the PATH")
    own = _CACHE / "go"
    binary = own / "usr" / "lib" / f"go-{GO_SERIES}" / "bin" / "go"
    if not binary.exists():
        shutil.rmtree(own, ignore_errors=True)
        unpack(f"golang-{GO_SERIES}-src", GO_SERIES, {"usr": "usr"}, own)
        unpack(f"golang-{GO_SERIES}-go", GO_SERIES, {"usr": "usr"}, own)
    return str(binary)


def wheels(lock: Path, python: str, folder: Path) -> None:
    """Installs the wheels of a lock file, by hash, for a Python other than ours, into a folder.

    Raises Unsatisfied where the engine is of an architecture that there are no wheels for.
    """
    architecture = engine.architecture()
    machine = WHEELS.get(architecture)
    if machine is None:
        raise Unsatisfied(f"the engine is {architecture}, and there are Python wheels for {' and '.join(WHEELS)} only")
    platforms = [f"--platform={kind}_{machine}" for kind in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile",
         "--require-hashes", "--python-version", python, "--implementation=cp", *platforms, "--target", str(folder),
         "--requirement", str(lock)],
        "fetching Python wheels",
    )  # fmt: skip
