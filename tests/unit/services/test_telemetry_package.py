"""The library as a package: it builds, installs, imports from where it was installed, and names all that it needs."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

LIBRARY = Path(__file__).parents[3] / "services" / "telemetry"
PROJECT = tomllib.loads((LIBRARY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Distribution → the modules that it brings, where that is not its own name.
MODULES = {
    "opentelemetry-api": ["opentelemetry"],
    "opentelemetry-sdk": ["opentelemetry"],
    "opentelemetry-exporter-otlp-proto-http": ["opentelemetry"],
    "prometheus-client": ["prometheus_client"],
    "uvloop": [],  # uvicorn imports it
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network and without dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(LIBRARY))
    (found,) = folder.glob("*.whl")
    return found


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def imported(path: Path) -> set[str]:
    """Top modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_wheel_installs_and_is_imported_from_there(wheel: Path, tmp_path: Path) -> None:
    pip("install", "--no-deps", "--no-index", "--target", str(tmp_path), str(wheel))
    script = "import telemetry, sys; telemetry.instrument(lambda *_: None); print(telemetry.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(tmp_path), "OTEL_SERVICE_NAME": "shop"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == str(tmp_path / "telemetry" / "__init__.py")


def test_the_wheel_holds_every_module_and_its_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"telemetry/{path.relative_to(LIBRARY)}" for path in LIBRARY.rglob("*.py")} | {"telemetry/py.typed"}
    assert {name for name in names if ".dist-info" not in name} == expected


def test_every_module_that_is_imported_is_a_declared_dependency() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = {Requirement(text).name for group in groups for text in group} - {PROJECT["name"]}
    brought = {module for name in declared for module in MODULES.get(name, [name])}
    needed = set().union(*(imported(path) for path in LIBRARY.rglob("*.py")))
    assert needed - set(sys.stdlib_module_names) - {"telemetry"} == brought


def test_what_the_tests_run_with_is_within_the_declared_versions() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(metadata.version(requirement.name)), str(requirement)


def test_an_application_is_instrumented_without_any_extra() -> None:
    """What the extras bring is imported only where it is used: it costs memory, and may not be installed."""
    extras = {Requirement(text).name for group in PROJECT["optional-dependencies"].values() for text in group}
    script = (
        f"import sys, telemetry; telemetry.instrument(lambda *_: None); print(sorted({extras!r} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(LIBRARY.parent), "OTEL_SERVICE_NAME": "shop"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout.strip()) == ("", "[]")
