"""Property: any valid model renders to files that their own tools accept."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from lookout import checks
from lookout.images import Choice
from lookout.model import Stack
from tests.integration.conftest import with_images
from tests.models import valid_models

pytestmark = pytest.mark.integration

TOOLS = {
    "alertmanager-config": "alertmanager",
    "alertmanager-routes": "alertmanager",
    "blackbox-config": "blackbox-exporter",
    "collector-config": "otel-collector",
    "jaeger-config": "jaeger",
    "loki-config": "loki",
    "prometheus-config": "prometheus",
    "promtail-config": "promtail",
    "rule-tests": "prometheus",
    "tempo-config": "tempo",
}
"""Check → the image that it takes its tool from."""


# Each model costs a dozen containers: a few are drawn, and none is made smaller after a failure.
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(model=valid_models())
def test_any_valid_model_renders_to_files_that_their_own_tools_accept(
    every_image: dict[str, Choice], model: Stack
) -> None:
    report = checks.run_all(model, with_images(model, every_image), None, print)
    assert not report.findings
    missing = {name for name, choice in every_image.items() if choice.use is None}
    unused = {"tempo", "jaeger"} - set(model.traces.stores)
    # What is committed was rendered from another model.
    without = {"rendered-current"} | {check for check, image in TOOLS.items() if image in missing | unused}
    assert {skip.check for skip in report.skipped} == without
    assert report.ran == len(checks.discovered()) - len(without)
