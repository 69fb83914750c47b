"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing them")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes share the tests; those on the stack stay together, for there is one stack."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and "stack" in item.fixturenames
            and item.get_closest_marker("integration")
        ):
            item.add_marker(pytest.mark.xdist_group("stack"))
