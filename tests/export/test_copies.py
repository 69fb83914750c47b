"""Copying: each folder of rendered/ stands alone; its own tool accepts it in an empty place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lookout import engine, images, machine
from lookout.images import Effective
from lookout.model import load
from lookout.render import ROOT

pytestmark = pytest.mark.integration

RULE_TESTS = sorted(f"rules/{path.name}" for path in (ROOT / "rendered" / "prometheus" / "rules").glob("*.test.yml"))
COPIES = {
    "prometheus": ("prometheus", "/bin/promtool", ["check", "config", "prometheus.yml"]),
    "prometheus rule tests": ("prometheus", "/bin/promtool", ["test", "rules", *RULE_TESTS]),
    "alertmanager": ("alertmanager", "/bin/amtool", ["check-config", "alertmanager.yml"]),
    "loki": ("loki", "/usr/bin/loki", ["-verify-config", "-config.file=loki.yaml"]),
    "promtail": ("promtail", "/usr/bin/promtail", ["-check-syntax", "-config.file=promtail.yml"]),
    "tempo": ("tempo", "/tempo", ["-config.file=tempo.yaml", "-config.verify=true"]),
    "collector": ("otel-collector", "", ["validate", "--config=collector.yaml"]),
    "blackbox": ("blackbox-exporter", "/bin/blackbox_exporter", ["--config.check", "--config.file=blackbox.yml"]),
}
"""What is copied → (image of the model, its tool, arguments)."""


@pytest.fixture(scope="module")
def chosen() -> Effective:
    """The images that this machine has for the model of the product."""
    machine.ensure(print)
    source = images.parse_source(os.environ.get("IMAGES", "auto"))
    return images.effective(load([ROOT / "stack.yaml"]), source, False, print)


@pytest.mark.parametrize("what", sorted(COPIES))
def test_a_folder_copied_alone_is_accepted_by_its_own_tool(chosen: Effective, what: str, tmp_path: Path) -> None:
    image, tool, arguments = COPIES[what]
    if image not in chosen.images:
        pytest.skip(f"the image {load([ROOT / 'stack.yaml']).images[image].reference} cannot be had")
    use = chosen.images[image]
    if image == "otel-collector":
        tool = "/cmd/jaeger/jaeger-linux" if use.built else "/otelcol-contrib"
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "rendered" / what.split()[0], copy)
    done = engine.tool(use.reference, tool, arguments, {copy: "/copied"}, workdir="/copied")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rendered_folder_with_a_tool_is_tried() -> None:
    folders = {path.name for path in (ROOT / "rendered").iterdir() if path.is_dir()}
    assert folders - {what.split()[0] for what in COPIES} == {"grafana"}


def test_the_whole_folder_copied_alone_is_a_compose_project(tmp_path: Path) -> None:
    machine.ensure(print)
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "rendered", copy)
    done = engine.run("compose", "--file", str(copy / "compose.yaml"), "config", "--quiet", check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
