"""The only writer of rendered files: staged, validated, then renamed file by file; nothing is touched on failure.

Containers mount the folders, so a file must be replaced inside its folder: swapping the folder itself would leave
a running container with the old one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from .errors import Unsatisfied

KEPT: Final = ("secrets",)
"""Folders beside the rendered files that belong to the user."""


def write(files: Mapping[str, str], folder: Path) -> list[str]:
    """Makes ``folder`` hold exactly these files. Returns the paths that changed, sorted.

    Raises Unsatisfied, before anything is touched, when a file is not the YAML or JSON that its name says.
    """
    for path, text in files.items():
        _validate(path, text)
    folder.mkdir(parents=True, exist_ok=True)
    present = existing(folder)
    changed = sorted(path for path, text in files.items() if present.get(path) != text)
    with tempfile.TemporaryDirectory(prefix=".staged-", dir=folder) as staged:
        for number, path in enumerate(changed):
            staged_file = Path(staged, str(number))
            staged_file.write_text(files[path], encoding="utf-8")
            staged_file.chmod(0o755 if path.endswith(".sh") else 0o644)
        for number, path in enumerate(changed):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(staged, str(number)), target)
    gone = sorted(set(present) - set(files))
    for path in gone:
        (folder / path).unlink()
    for directory in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if directory.relative_to(folder).parts[0] not in KEPT and not any(directory.iterdir()):
            directory.rmdir()
    return sorted({*changed, *gone})


def existing(folder: Path) -> dict[str, str]:
    """The files that a folder holds, apart from the user's own."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in KEPT
    }


def _validate(path: str, text: str) -> None:
    try:
        if path.endswith((".yaml", ".yml")):
            yaml.safe_load(text)
        elif path.endswith(".json"):
            json.loads(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise Unsatisfied(f"{path} would not be valid: {error}; nothing was written") from error
