"""Data goes one way: the arrows between the modules of the package never point back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lookout.render import ROOT

PACKAGE = ROOT / "scripts" / "lookout"

LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "names": set(),
    "model": {"errors"},
    "schema": {"model"},
    "notify": {"model", "secrets"},
    "secrets": {"model"},
    "fixtures": {"model"},
    "dashboards": {"model", "names", "errors"},
    "render": {"model", "names", "fixtures", "notify", "secrets", "dashboards"},
    "write": {"errors"},
    "engine": {"errors"},
    "packages": {"engine", "errors", "render"},
    "recipes": {"engine", "errors", "names", "packages", "render"},
    "images": {"engine", "errors", "model", "recipes", "render"},
    "verify": {"engine", "errors", "model", "names"},
    "machine": {"engine", "errors", "packages", "render", "verify"},
    "checks": {"engine", "images", "model", "render", "schema", "write"},
    "project": {"engine", "errors", "images", "model", "render", "verify", "write"},
    "faults": {"engine", "errors", "project"},
    "cli": {
        "checks",
        "engine",
        "errors",
        "faults",
        "images",
        "machine",
        "model",
        "project",
        "render",
        "schema",
        "verify",
        "write",
    },
    "__main__": {"cli"},
    "__init__": set(),
}
"""Module or package → the others of ours that it may import."""


def module_of(path: Path) -> str:
    """The top module a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The top modules of ours that a file imports."""
    depth = len(path.relative_to(PACKAGE).parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("lookout"):
            pytest.fail(f"{path}: imports its own package by its full name")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_stands_before_it(path: Path) -> None:
    own = module_of(path)
    assert imported(path) - {own} <= LAYERS[own]


def test_the_layers_have_no_circle() -> None:
    done: set[str] = set()
    while ready := {name for name, needs in LAYERS.items() if name not in done and needs <= done}:
        done |= ready
    assert done == set(LAYERS)


PURE = [PACKAGE / f"{name}.py" for name in ("render", "dashboards", "fixtures", "names", "notify", "schema", "secrets")]
"""What makes text of the model. Beside it: the dashboards."""

HARMLESS = {
    "__future__",
    "collections",
    "dataclasses",
    "functools",
    "grafana_foundation_sdk",
    "hashlib",
    "importlib",
    "itertools",
    "jinja2",
    "json",
    "lookout",
    "math",
    "pathlib",
    "string",
    "sys",
    "types",
    "typing",
    "yaml",
}
"""Modules of others that know no clock, network, process, chance or surroundings: templates are read, nothing else."""


@pytest.mark.parametrize(
    "path", [*PURE, *sorted((ROOT / "grafana" / "dashboards").glob("*.py"))], ids=lambda path: str(path.name)
)
def test_rendering_knows_no_clock_network_or_process(path: Path) -> None:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    assert {name.split(".")[0] for name in found} <= HARMLESS
