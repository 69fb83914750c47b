"""Each kind of fault that needs a place in a service has one, in the service that the guide names."""

import importlib
import pkgutil

import pytest

from telemetry.faults import KINDS, Hook

PLACES = {
    "automation_services": {"queue_stall"},
    "api_gateway": {"bad_signatures"},
    "mcp_server": {"tool_failure"},
    "llm_orchestrator": {"token_burn"},
}


@pytest.mark.parametrize("package", PLACES)
def test_a_service_has_the_places_of_its_faults(package: str) -> None:
    names = [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    modules = [importlib.import_module(f"{package}.{name}") for name in names if name != "__main__"]
    hooks = [value for module in modules for value in vars(module).values() if isinstance(value, Hook)]
    assert {hook.kind for hook in hooks} == PLACES[package]


def test_every_kind_that_needs_a_place_has_one() -> None:
    assert set().union(*PLACES.values()) == {name for name, kind in KINDS.items() if kind.hooked}
