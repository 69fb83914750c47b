"""Golden files: what a change of a template does to the cases that the product's own model does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookout.model import load
from lookout.render import ROOT, render
from lookout.write import existing

CASES = {
    "every-receiver": ("alertmanager/alertmanager.yml", "bootstrap.sh"),
    "jaeger-beside-tempo": ("collector/collector.yaml", "jaeger/jaeger.yaml"),
    "an-outside-service": ("prometheus/targets/services.yml", "prometheus/targets/services-live.yml"),
}
"""Overlay in this folder → the files that it changes."""

FOLDER = Path(__file__).parent


def test_the_committed_bundle_is_what_the_model_renders() -> None:
    assert existing(ROOT / "rendered") == render(load([ROOT / "stack.yaml"]))


@pytest.mark.parametrize(("case", "path"), [(case, path) for case, paths in CASES.items() for path in paths])
def test_an_overlay_renders_its_golden_file(case: str, path: str, request: pytest.FixtureRequest) -> None:
    text = render(load([ROOT / "stack.yaml", FOLDER / f"{case}.yaml"]))[path]
    golden = FOLDER / case / path
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), "if this is meant: pytest tests/golden --update-golden"
