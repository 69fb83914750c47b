"""Recipes of images: read, called by their content, built once. The engine is played, and so are the registries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookout import engine, packages, recipes
from lookout.errors import Unsatisfied, WrongUsage

BASE = "debian:trixie-slim"


class Engine:
    """A store of images, and what it was given to build: the base, and the files of the build context."""

    def __init__(self) -> None:
        self.store: set[str] = set()
        self.bases: list[str | None] = []
        self.files: list[set[str]] = []
        self.refuses = False

    def run(self, command: str, *arguments: str, **_options: Any) -> None:
        """``docker build`` or ``docker import``."""
        if self.refuses:
            raise Unsatisfied("docker build … ended with 1:\nno space left on device")
        if command == "build":
            reference = arguments[arguments.index("--tag") + 1]
            context = Path(arguments[-1])
            self.bases.append(next((word.removeprefix("BASE=") for word in arguments if "BASE=" in word), None))
            self.files.append({str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()})
        else:
            assert command == "import"
            assert Path(arguments[-2]).read_text(encoding="utf-8") == "a minimal trixie"
            reference = arguments[-1]
        self.store.add(reference)


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine without images."""
    played = Engine()
    monkeypatch.setattr(engine, "run", played.run)
    monkeypatch.setattr(engine, "has_image", lambda reference: reference in played.store)
    monkeypatch.setattr(engine, "architecture", lambda: "arm64")
    return played


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with a recipe of each kind."""
    monkeypatch.setattr(recipes, "ROOT", tmp_path)
    monkeypatch.setattr(recipes, "FOLDER", tmp_path / "compose" / "images")
    monkeypatch.setattr(recipes, "BUILD", tmp_path / "build")
    for path, text in {
        "compose/images/debian/recipe.yaml": "bootstrap: {suite: trixie}",
        "compose/images/app/recipe.yaml": (
            "base: debian\n"
            "debian: [{package: promtool, minimum: '3.5', files: {usr/bin/promtool: bin/promtool}}]\n"
            "wheels: {lock: app.lock, python: '3.13', into: opt/lib}\n"
            "copy: {source: opt/source}\n"
        ),
        "compose/images/app/Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY rootfs/ /\n",
        "compose/images/app/entrypoint.sh": "#!/bin/sh\n",
        "compose/images/probe/recipe.yaml": "base: scratch\ngo: [{package: ., output: bin/probe}]",
        "compose/images/probe/Dockerfile": "FROM scratch\nCOPY rootfs/ /\n",
        "source/main.py": "print()",
        "app.lock": "httpx==1",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    (tmp_path / "compose/images/app/entrypoint.sh").chmod(0o755)
    monkeypatch.setattr(packages, "bootstrap", lambda suite, archive: archive.write_text(f"a minimal {suite}"))
    monkeypatch.setattr(packages, "unpack", lambda *given: put(given[3] / "bin/promtool"))
    monkeypatch.setattr(packages, "wheels", lambda *given: put(given[2] / "httpx.py"))
    monkeypatch.setattr(packages, "go", lambda: "/opt/go")
    monkeypatch.setattr(packages, "run", lambda command, *_rest, **_options: put(Path(command[-2])))
    forget()
    yield tmp_path
    forget()


def put(path: Path) -> None:
    """Makes a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def forget() -> None:
    """Recipes and tags are asked for once in a process: here files change."""
    recipes.read.cache_clear()
    recipes.tag.cache_clear()


def quiet(_text: str) -> None:
    """Says nothing."""


def test_a_recipe_that_is_not_there_is_named_with_those_that_are(checkout: Path) -> None:
    assert checkout
    with pytest.raises(WrongUsage) as refused:
        recipes.read("loki")
    assert str(refused.value) == (
        "an image of the model names the recipe 'loki', and compose/images/loki/recipe.yaml cannot be read: "
        "No such file or directory; there are: app, debian, probe"
    )


@pytest.mark.parametrize("text", ["base: alpine", "bsae: debian", "base: [", "go: [{package: .}]"])
def test_a_wrong_recipe_is_refused_with_its_file(checkout: Path, text: str) -> None:
    (checkout / "compose/images/app/recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(WrongUsage, match=r"^compose/images/app/recipe\.yaml is wrong: "):
        recipes.read("app")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda root: (root / "compose/images/app/Dockerfile").write_text("FROM scratch"),
    "a file more": lambda root: put(root / "compose/images/app/motd"),
    "the name of a file": lambda root: (root / "source/main.py").rename(root / "source/start.py"),
    "what is copied": lambda root: (root / "source/main.py").write_text("exit()"),
    "the lock of the wheels": lambda root: (root / "app.lock").write_text("httpx==2"),
    "a file that is not executable any more": lambda root: (root / "compose/images/app/entrypoint.sh").chmod(0o644),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_content_is_another_tag(checkout: Path, change: str) -> None:
    before = recipes.tag("app", BASE)
    CHANGES[change](checkout)
    forget()
    assert recipes.tag("app", BASE) != before


def test_the_same_content_is_the_same_tag(checkout: Path) -> None:
    before = recipes.tag("app", BASE)
    put(checkout / "source/__pycache__/main.pyc")
    (checkout / "source/main.py").chmod(0o600)
    forget()
    assert recipes.tag("app", BASE) == before
    assert before.startswith("lookout/app:")


def test_another_base_is_another_tag_and_so_is_another_recipe_of_the_base(checkout: Path) -> None:
    before = {recipes.tag("app", base) for base in (BASE, "debian:forky-slim", recipes.tag("debian"))}
    assert len(before) == 3
    (checkout / "compose/images/debian/recipe.yaml").write_text("bootstrap: {suite: forky}", encoding="utf-8")
    forget()
    assert recipes.tag("app", recipes.tag("debian")) not in before


def test_an_image_is_built_of_all_that_its_recipe_names(checkout: Path, docker: Engine) -> None:
    reference = recipes.build("app", BASE, quiet)
    assert reference == recipes.tag("app", BASE)
    assert docker.bases == [BASE]
    assert docker.files == [
        {"recipe.yaml", "Dockerfile", "entrypoint.sh"}
        | {f"rootfs/{path}" for path in ("bin/promtool", "opt/lib/httpx.py", "opt/source/main.py")}
    ]
    assert list((checkout / "build").iterdir()) == []


def test_an_image_from_scratch_has_no_base(checkout: Path, docker: Engine) -> None:
    assert checkout
    recipes.build("probe", None, quiet)
    assert docker.bases == [None]
    assert "rootfs/bin/probe" in docker.files[0]


def test_an_image_is_built_once_and_again_when_its_content_changes(checkout: Path, docker: Engine) -> None:
    first = recipes.build("app", BASE, quiet)
    assert recipes.build("app", BASE, quiet) == first
    assert len(docker.bases) == 1
    (checkout / "source/main.py").write_text("exit()", encoding="utf-8")
    forget()
    assert recipes.build("app", BASE, quiet) != first
    assert len(docker.bases) == 2


def test_a_base_is_made_of_packages(checkout: Path, docker: Engine) -> None:
    assert checkout
    assert recipes.build("debian", None, quiet) == recipes.tag("debian")
    assert docker.store == {recipes.tag("debian")}


def test_a_failed_build_leaves_nothing_and_is_tried_again(checkout: Path, docker: Engine) -> None:
    docker.refuses = True
    with pytest.raises(Unsatisfied, match="no space left"):
        recipes.build("app", BASE, quiet)
    assert list((checkout / "build").iterdir()) == []
    docker.refuses = False
    assert recipes.build("app", BASE, quiet) in docker.store


def test_every_step_is_said_and_the_end(checkout: Path, docker: Engine) -> None:
    assert checkout
    said: list[str] = []
    reference = recipes.build("app", BASE, said.append)
    assert said == [
        "app: Debian package promtool …",
        "app: Python wheels …",
        "app: image …",
        f"app: built as {reference} in 0 s",
    ]
    recipes.build("app", BASE, said.append)
    assert len(said) == 4
    assert docker.store == {reference}


def test_a_step_that_takes_long_is_said_to_go_on(
    checkout: Path, docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkout
    reminded = threading.Event()

    def say(text: str) -> None:
        if text == "app: Debian package promtool … 0 s":
            reminded.set()

    monkeypatch.setattr(recipes, "REMIND_EVERY", 0.01)
    monkeypatch.setattr(packages, "unpack", lambda *_given: reminded.wait(10))
    recipes.build("app", BASE, say)
    assert reminded.is_set()
    assert docker.store
