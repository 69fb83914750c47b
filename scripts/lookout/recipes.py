"""Building images from recipes: folders under compose/images, each with a recipe.yaml and (mostly) a Dockerfile.

A recipe names what goes into ``rootfs/`` of its build context: Debian packages, Go packages, Python wheels and
folders of the checkout. The tag of an image is a fingerprint of everything that its recipe says and of the name of the
image that it stands on, so that it is built once and again only when one of them changes. No address of a registry
stands in a recipe: those are the machine's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import engine, names, packages
from .errors import WrongUsage
from .render import ROOT

FOLDER: Final = ROOT / "compose" / "images"
BUILD: Final = ROOT / "build" / "images"
GO: Final = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false -trimpath"}
"""How Go builds the programs of images, and their tests, so that both find in its cache what the other compiled."""

REMIND_EVERY: Final = 30.0
"""Seconds between two lines that say that a step goes on."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GoPackage(_Part):
    """A Go package of the recipe's go.mod, built static to a path of the image."""

    package: str
    output: str
    ldflags: str = ""


class DebianPackage(_Part):
    """A package of Debian unstable, unpacked without its dependencies; at least of this version."""

    package: str
    minimum: str
    files: dict[str, str] = Field(description="path in the package → path in the image")


class Wheels(_Part):
    """Python wheels of a lock file, unpacked to a folder of the image."""

    lock: str
    python: str
    into: str


class Bootstrap(_Part):
    """A base image made of packages: the minimum of a suite of Debian."""

    suite: str


class Recipe(_Part):
    """What an image is made of."""

    base: Literal["debian", "scratch"] | None = None
    bootstrap: Bootstrap | None = None
    go: tuple[GoPackage, ...] = ()
    debian: tuple[DebianPackage, ...] = ()
    wheels: Wheels | None = None
    copy_: Annotated[
        dict[str, str], Field(alias="copy", description="folder of the checkout → folder of the image")
    ] = {}


@cache
def read(name: str) -> Recipe:
    """The recipe of that name. Raises WrongUsage when there is none or it is wrong."""
    path = FOLDER / name / "recipe.yaml"
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        there = ", ".join(sorted(folder.parent.name for folder in FOLDER.glob("*/recipe.yaml")))
        raise WrongUsage(
            f"an image of the model names the recipe {name!r}, and {path.relative_to(ROOT)} cannot be read: "
            f"{error.strerror}; there are: {there}"
        ) from error
    except (ValidationError, yaml.YAMLError) as error:
        raise WrongUsage(f"{path.relative_to(ROOT)} is wrong: {error}") from error


@cache
def tag(name: str, base: str | None = None) -> str:
    """The reference of the image that the recipe makes: its name and the fingerprint of its content.

    ``base`` is the image that it stands on, where the recipe says ``debian``.
    """
    recipe = read(name)
    digest = hashlib.sha256()
    for path in _sources(name, recipe):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
        if path.stat().st_mode & stat.S_IXUSR:
            digest.update(b"executable\0")
    if base:
        digest.update(base.encode())
    return f"lookout/{name}:{digest.hexdigest()[:12]}"


def _sources(name: str, recipe: Recipe) -> Iterator[Path]:
    folders = [FOLDER / name, *(ROOT / source for source in recipe.copy_)]
    for folder in folders:
        yield from sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
        )
    if recipe.wheels:
        yield ROOT / recipe.wheels.lock


def build(name: str, base: str | None, say: Callable[[str], None]) -> str:
    """Builds the image of a recipe on ``base`` unless the engine has it, and returns its reference.

    Raises Unsatisfied when a step fails and MissingTool when a program for it is missing; a failed build leaves
    no image behind.
    """
    reference, recipe = tag(name, base), read(name)
    if engine.has_image(reference):
        return reference
    started = time.monotonic()
    with _context(name) as context:
        if recipe.bootstrap:
            with _step(say, f"{name}: Debian {recipe.bootstrap.suite} from packages"):
                packages.bootstrap(recipe.bootstrap.suite, context / "root.tar")
            label = f"LABEL {names.LABEL_RECIPE}={name}"
            engine.run("import", "--change", label, str(context / "root.tar"), reference)
        else:
            _fill(name, recipe, context, say)
            with _step(say, f"{name}: image"):
                _dockerfile(name, context, reference, base)
    say(f"{name}: built as {reference} in {time.monotonic() - started:.0f} s")
    return reference


@contextmanager
def _context(name: str) -> Iterator[Path]:
    BUILD.mkdir(parents=True, exist_ok=True)
    context = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD))
    (context / "rootfs").mkdir()
    try:
        yield context
    finally:
        shutil.rmtree(context, ignore_errors=True)


def _fill(name: str, recipe: Recipe, context: Path, say: Callable[[str], None]) -> None:
    rootfs = context / "rootfs"
    for package in recipe.debian:
        with _step(say, f"{name}: Debian package {package.package}"):
            packages.unpack(package.package, package.minimum, package.files, rootfs)
    for number, target in enumerate(recipe.go, 1):
        with _step(say, f"{name}: {target.package} ({number} of {len(recipe.go)})"):
            _go_build(name, target, rootfs / target.output)
    if recipe.wheels:
        with _step(say, f"{name}: Python wheels"):
            packages.wheels(ROOT / recipe.wheels.lock, recipe.wheels.python, rootfs / recipe.wheels.into)
    for source, target_folder in recipe.copy_.items():
        shutil.copytree(
            ROOT / source,
            rootfs / target_folder,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
        )


def _go_build(name: str, target: GoPackage, output: Path) -> None:
    command = ["build", "-ldflags", f"-s -w {target.ldflags}".strip(), "-o", str(output), target.package]
    environment = {**os.environ, **GO, "GOOS": "linux", "GOARCH": engine.architecture()}
    packages.run([packages.go(), *command], f"go build {target.package}", cwd=FOLDER / name, env=environment)


def _dockerfile(name: str, context: Path, reference: str, base: str | None) -> None:
    shutil.copytree(FOLDER / name, context, dirs_exist_ok=True)
    arguments = ["--build-arg", f"BASE={base}"] if base else []
    engine.run(
        "build", "--quiet", "--tag", reference, "--label", f"{names.LABEL_RECIPE}={name}", *arguments, str(context),
        env={"DOCKER_BUILDKIT": "0"},
    )  # fmt: skip


@contextmanager
def _step(say: Callable[[str], None], what: str) -> Iterator[None]:
    """Says that a step began, and every now and then that it goes on."""
    say(f"{what} …")
    done, started = threading.Event(), time.monotonic()

    def remind() -> None:
        while not done.wait(REMIND_EVERY):
            say(f"{what} … {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
