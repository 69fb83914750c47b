"""Model → dashboards, as plain data that Grafana's file provisioning takes (the classic schema)."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .model import Stack

FOLDER: Final = Path(__file__).resolve().parents[2] / "grafana" / "dashboards"
"""One file per dashboard: a module with a ``UID`` and ``build(stack)``."""

PACKAGE: Final = "lookout_dashboards"
"""The name under which the folder is imported, so that its modules can import each other."""


def build(stack: Stack) -> dict[str, dict[str, Any]]:
    """Every dashboard by its UID, in order; the same model gives the same bytes."""
    return {uid: _plain(module.build(stack).build()) for uid, module in by_uid(_modules()).items()}


def by_uid(modules: Iterable[ModuleType]) -> Mapping[str, ModuleType]:
    """Modules by their UID, in order, without those that have none. ValueError when two claim the same."""
    found: dict[str, ModuleType] = {}
    for module in modules:
        uid = getattr(module, "UID", None)
        if uid is None:
            continue
        if uid in found:
            both = f"{found[uid].__file__} and {module.__file__}"
            raise ValueError(f"{both} have the same UID {uid!r}: give one of them another")
        found[uid] = module
    return dict(sorted(found.items()))


def _modules() -> list[ModuleType]:
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{FOLDER} is not a folder of Python files")
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = package
        spec.loader.exec_module(package)
    return [importlib.import_module(f"{PACKAGE}.{path.stem}") for path in sorted(FOLDER.glob("[!_]*.py"))]


def _plain(dashboard: object) -> dict[str, Any]:
    """What the SDK would write as JSON, read back: no objects, keys in order."""
    plain: dict[str, Any] = json.loads(json.dumps(dashboard, cls=JSONEncoder, sort_keys=True))
    return plain
