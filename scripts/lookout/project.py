"""The project that runs: build/project (or another folder), rendered from the effective model, and its life."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from . import engine, images
from .engine import Compose, moment, tail
from .errors import Unsatisfied, WrongUsage
from .model import Stack, load
from .render import ImageUse, render
from .verify import live
from .verify.servers import Live
from .verify.verdict import Verdict
from .write import write

Say = Callable[[str], None]

RELOADED_WITHIN = 30
"""Seconds that a server may take to say whether it accepts its configuration."""

_STATE = ".lookout.json"


@dataclass(frozen=True)
class Project:
    """A rendered project in a folder, with the effective model that it was rendered from."""

    stack: Stack
    folder: Path

    @property
    def compose(self) -> Compose:
        """The compose project."""
        return Compose(self.folder, self.stack.project)

    @property
    def live(self) -> Live:
        """Questions to its running servers."""
        return Live(self.stack, self.folder)


def prepare(files: Sequence[Path], folder: Path, source: images.Source, strict: bool, say: Say) -> Project:
    """Obtains the images, renders the effective model into ``folder`` and makes the secrets."""
    stack = load(files)
    if folder.exists() and any(folder.iterdir()) and not (folder / _STATE).exists():
        raise WrongUsage(f"{folder} holds other things than a project of Lookout: give an empty or a new folder")
    given = _given_secrets(stack, files[0].resolve().parent)
    _refuse_what_is_another_folders(stack, folder)
    if another := another_model(folder, files):
        say(another)
    chosen = images.effective(stack, source, strict, say)
    say(_image_line(chosen))
    for note in chosen.notes:
        say(f"           {note}")
    rendered = render(chosen.stack, chosen.images)
    state = {
        "model": [str(path.resolve()) for path in files],
        "stack": chosen.stack.model_dump(mode="json", by_alias=True),
        "images": {name: [use.reference, use.built] for name, use in chosen.images.items()},
    }
    write({**rendered, _STATE: json.dumps(state, indent=1, sort_keys=True) + "\n"}, folder)
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    for path in given:
        _copy(path, folder / "secrets" / path.name)
    done = subprocess.run([str(folder / "bootstrap.sh"), "secrets"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WrongUsage(done.stderr.strip())
    return Project(chosen.stack, folder)


_HELD: dict[str, str] = {"postgres_password": "postgres-data", "grafana_admin": "grafana-data"}
"""A generated secret → the volume that keeps what it was when the volume was new."""


def another_model(folder: Path, files: Sequence[Path]) -> str | None:
    """What to say where a folder was prepared from other model files before: an overlay is easily left out."""
    if not (folder / _STATE).exists():
        return None
    before, now = [Path(name).name for name in _state(folder)["model"]], [path.name for path in files]
    return None if before == now else f"model      {' + '.join(now)}; before: {' + '.join(before)}"


def _refuse_what_is_another_folders(stack: Stack, folder: Path) -> None:
    """Raises WrongUsage where a project of that name runs from another folder, or left data of other secrets."""
    others = engine.folders_of(stack.project) - {str(folder), str(folder.resolve())}
    if others:
        raise WrongUsage(
            f'the project "{stack.project}" was started from {", ".join(sorted(others))}: stop it there with '
            "`make down`, or give this one another name, with `project` in the model or in an overlay"
        )
    held = [
        f"{stack.project}_{volume}"
        for secret, volume in _HELD.items()
        if not (folder / "secrets" / secret).exists() and engine.has_volume(f"{stack.project}_{volume}")
    ]
    if held:
        raise WrongUsage(
            f"{', '.join(held)}: volumes from before; {folder}/secrets does not have their passwords. Bring it "
            f"back, or delete the data: docker volume rm {' '.join(held)}"
        )


def _copy(source: Path, target: Path) -> None:
    """Puts a secret where containers read it; leaves one that is the same as it is."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o444)


def _given_secrets(stack: Stack, root: Path) -> list[Path]:
    """The secrets of receivers, as the user gave them.

    Raises WrongUsage naming each that is missing or empty.
    """
    paths = [root / secret for secret in stack.secret_files]
    missing = [
        str(secret)
        for secret, path in zip(stack.secret_files, paths, strict=True)
        if not (path.is_file() and path.stat().st_size)
    ]
    if missing:
        raise WrongUsage(
            "the model enables a receiver whose secret is missing:\n"
            + "\n".join(
                f"  {name}: put the secret into this file, or take the receiver out of the model" for name in missing
            )
        )
    return paths


def _image_line(chosen: images.Effective) -> str:
    counts: dict[str, int] = {}
    for choice in chosen.choices:
        counts[choice.origin] = counts.get(choice.origin, 0) + 1
    words = {"store": "in the store", "pulled": "pulled", "built": "built", "missing": "left out"}
    return "images     " + " · ".join(f"{counts[origin]} {word}" for origin, word in words.items() if origin in counts)


def opened(folder: Path) -> Project:
    """The project that was last prepared in a folder.

    Raises WrongUsage when there is none, or one that another version of Lookout wrote.
    """
    try:
        return Project(Stack.model_validate(_state(folder)["stack"]), folder)
    except ValidationError as error:
        raise WrongUsage(f"{folder} was written by another version of Lookout: run `make up` to renew it") from error


def stop(folder: Path, *arguments: str) -> dict[str, list[str]]:
    """Stops the project of a folder, whichever version wrote it; returns the networks that stay and who is in them.

    Raises WrongUsage when there is none.
    """
    return Compose(folder, str(_state(folder)["stack"]["project"])).down(*arguments)


def _state(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _STATE).read_text(encoding="utf-8")))
    except OSError as error:
        raise WrongUsage(f"{folder} holds no project: run `make up` first") from error
    except ValueError as error:
        raise WrongUsage(f"{folder / _STATE} is damaged ({error}): run `make up` to renew it") from error


def images_of(folder: Path) -> dict[str, ImageUse]:
    """The images of the project that was last prepared in a folder."""
    return {name: ImageUse(reference, built) for name, (reference, built) in _state(folder)["images"].items()}


def start(project: Project) -> None:
    """Starts what does not run, replaces what changed, and lets servers read what they can without a restart.

    All of it is done each time: what an earlier start that failed did not come to is not forgotten.
    """
    project.compose("up", "--detach", "--remove-orphans", "--quiet-pull")
    created = moment(project.compose.containers()["alertmanager"]["Created"])
    given = [project.folder / "secrets" / path.name for path in project.stack.secret_files]
    if any(path.stat().st_mtime > created for path in given):
        # A running container keeps the file it was started with.
        project.compose("up", "--detach", "--no-deps", "--force-recreate", "alertmanager")
    for server in ("prometheus", "alertmanager"):
        _reload(project, server)


def _reload(project: Project, server: str) -> None:
    """Asks a server to read its configuration again. One that only just starts reads it anyway.

    Raises Unsatisfied where it refuses, or does not say: then what it read before would pass for what it should read.
    """
    url = project.stack.url_of(server)
    if url is None:
        project.compose("kill", "--signal", "SIGHUP", server)
        return
    try:
        answer = httpx.post(f"{url}/-/reload", timeout=RELOADED_WITHIN)
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return  # Nobody listens yet. Docker's proxy takes the connection all the same, and cuts it.
    except httpx.HTTPError as error:
        raise Unsatisfied(
            f"{server} does not say whether it accepts its configuration ({error}): see its log, then run `make up`"
        ) from error
    if answer.status_code not in (200, 503):  # 503: it is still reading what it found at its start
        raise Unsatisfied(f"{server} does not accept its configuration: {answer.text.strip()}")


def wait_until_live(project: Project, within: float, say: Say) -> list[Verdict]:
    """Asks every question until each is answered well. Returns the last verdicts after ``within`` seconds at most."""
    deadline, shown = time.monotonic() + within, ""
    while True:
        verdicts = live.verdicts(project.live, project.compose)
        if all(verdict.ok for verdict in verdicts) or time.monotonic() > deadline:
            return verdicts
        line = " · ".join(str(verdict) for verdict in verdicts if not verdict.ok)
        if line != shown:
            say(f"waiting    {line}")
            shown = line
        time.sleep(1)


def table(project: Project, verdicts: Sequence[Verdict]) -> str:
    """What `up` and `status` end with: what was seen, and where everything is."""
    lines = [f"{'ok  ' if verdict.ok else 'FAIL'}  {verdict}" for verdict in verdicts]
    lines.append("")
    for name in project.stack.publish.ports:
        url = project.stack.url_of(name)
        if url:
            login = f"   login: admin, password in {project.folder}/secrets/grafana_admin" if name == "grafana" else ""
            lines.append(f"  {name:<20} {url}{login}")
    return "\n".join(lines)


def failures(project: Project, verdicts: Sequence[Verdict]) -> str:
    """Which container or object falls short, why, and the last log lines of each container among them."""
    words: list[str] = []
    found = project.compose.containers()
    shown: set[str] = set()
    for verdict in verdicts:
        for name, why in verdict.missing if not verdict.ok else ():
            words.append(f"{verdict.what}: {name}: {why}")
            if name in found and name not in shown:
                shown.add(name)
                words += [f"    {line}" for line in tail(found[name]["Id"]).splitlines()]
    return "\n".join(words)
