"""Property: any valid model renders to files that their own tools accept."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from lookout import checks
from lookout.images import Effective
from lookout.model import Stack
from lookout.project import Project, images_of
from tests.models import valid_models

pytestmark = pytest.mark.integration


# Each model costs a dozen containers: a few are drawn, and none is made smaller after a failure.
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(model=valid_models())
def test_any_valid_model_renders_to_files_that_their_own_tools_accept(prepared: Project, model: Stack) -> None:
    images = images_of(prepared.folder)
    if images["otel-collector"].built:
        images["jaeger"] = images["otel-collector"]  # the same recipe, also where Tempo is the trace store
    chosen = Effective(model, images, (), (), ())
    report = checks.run_all(model, chosen, None, print)
    assert not report.findings
    assert report.ran >= 10
