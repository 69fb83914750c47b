"""Where images come from."""

from __future__ import annotations

import pytest

from lookout.images import registry_of


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("postgres:18.4", "docker.io"),
        ("prom/prometheus:v3.13.2", "docker.io"),
        ("quay.io/prometheuscommunity/postgres-exporter:v0.19.1", "quay.io"),
        ("localhost:5000/grafana/grafana:13.1.3", "localhost:5000"),
    ],
)
def test_the_registry_of_a_reference_is_its_first_part_where_that_is_a_host(reference: str, registry: str) -> None:
    assert registry_of(reference) == registry
