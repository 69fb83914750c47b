"""Programs of ours in Go have their own tests beside them."""

from __future__ import annotations

import os
import subprocess

import pytest

from lookout import packages, recipes


def passes(recipe: str, vet: str) -> None:
    """Runs the tests of a recipe's folder, with the checks of ``go vet`` that are named, and asks that they pass."""
    command = [packages.go(), "test", f"-vet={vet}", "-count=1", "./..."]
    done = subprocess.run(
        command, cwd=recipes.FOLDER / recipe, env=os.environ | recipes.GO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_probe_passes_go_vet_and_its_own_tests() -> None:
    passes("probe", vet="all")


# Its modules are Loki's: `make test` has built the image before; where it is pulled instead they are fetched here.
@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_promtail_passes_its_own_tests() -> None:
    passes("promtail", vet="off")  # vet reads every package of Loki first: 40 s to 110 s, and the tests alone take 5 s


def test_every_folder_with_tests_in_go_is_among_them() -> None:
    assert {path.parent.name for path in recipes.FOLDER.glob("*/*_test.go")} == {"probe", "promtail"}
