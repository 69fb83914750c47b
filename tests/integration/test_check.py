"""`make check`: nothing to find on what is committed, and each check fails on what it is there for."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from lookout import checks, cli
from lookout.images import SUPPLY, Choice
from lookout.model import load
from lookout.project import Project
from lookout.render import ROOT, render
from tests.integration.conftest import with_images

pytestmark = pytest.mark.integration

Break = Callable[[dict[str, str]], None]


def replace(path: str, old: str, new: str) -> Break:
    """A change of one rendered file, which must have had the old text."""

    def change(files: dict[str, str]) -> None:
        assert old in files[path], f"{old!r} is not in {path}"
        files[path] = files[path].replace(old, new)

    return change


RULES = "prometheus/rules/errors.rules.yml"
BROKEN: dict[str, Break] = {
    "prometheus-config": replace("prometheus/prometheus.yml", "scrape_timeout: 10s", "scrape_timeout: 60s"),
    "rule-tests": replace(RULES, "> 5", "> 50"),
    "bucket-bounds": replace(RULES, 'status=~"5.."', 'le="2"'),
    "alertmanager-config": replace("alertmanager/alertmanager.yml", "receiver: warning", "receiver: nobody"),
    "alertmanager-routes": replace("alertmanager/routes.test.yaml", "receiver: critical", "receiver: warning"),
    "loki-config": replace("loki/loki.yaml", "auth_enabled", "auth_enabeld"),
    "promtail-config": replace("promtail/promtail.yml", "static_configs", "statc_configs"),
    "collector-config": replace("collector/collector.yaml", "tail_sampling, batch", "tail_samplign, batch"),
    "blackbox-config": replace("blackbox/blackbox.yml", "timeout: 5s", "timeout: soon"),
    "jaeger-config": replace("jaeger/jaeger.yaml", "jaeger_query:", "jaeger_qurey:"),
    "tempo-config": replace("tempo/tempo.yaml", "usage_report", "usage_repotr"),
    "compose-config": replace("compose.yaml", "restart: unless-stopped", "restrat: unless-stopped"),
    "rendered-current": replace("loki/loki.yaml", "auth_enabled: false", "auth_enabled: true"),
}
"""Check → a change that it must find."""


def test_what_is_committed_passes_every_check(prepared: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepared.stack.running
    code = cli.main(["check", "--images", os.environ.get("IMAGES", "auto")])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    assert "0 findings" in said.out


@pytest.mark.parametrize("identity", sorted(checks.discovered()))
def test_a_check_fails_on_what_it_is_there_for(
    every_image: dict[str, Choice], identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load([ROOT / "stack.yaml", ROOT / "tests" / "golden" / "jaeger-beside-tempo.yaml"])
    broken = dict(render(model))
    BROKEN[identity](broken)
    monkeypatch.setattr(checks, "render", lambda _stack: broken)
    chosen = with_images(model, every_image)
    report = checks.run_all(model, chosen, render(model), lambda _text: None, only=identity)
    for skip in report.skipped:
        assert skip.why in {
            f"there is no image {choice.name}: {choice.why}; {SUPPLY}"
            for choice in chosen.choices
            if choice.use is None
        }
        pytest.skip(skip.why)
    assert {finding.check for finding in report.findings} == {identity}
