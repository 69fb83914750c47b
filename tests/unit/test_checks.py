"""Checks without an engine: what they say where there is nothing to check with, or nothing that was checked."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookout import engine
from lookout.checks import alertmanager_routes, loki_config, rendered_current, rule_tests
from lookout.checks.base import Context, Finding, Skipped
from lookout.images import Choice, Effective
from lookout.model import load
from lookout.render import ROOT, as_written, render
from lookout.write import existing


def context(folder: Path, **changes: Any) -> Context:
    """What a check gets on a machine with every image, but for the changes."""
    stack = load([ROOT / "stack.yaml"])
    chosen = Effective(stack, as_written(stack), (), (), ())
    given: dict[str, Any] = {"chosen": chosen, "files": render(stack), "committed": existing(ROOT / "rendered")}
    return Context(**{"stack": stack, "folder": folder, **given, **changes})


@pytest.fixture(autouse=True)
def _tools_find_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(engine, "tool", lambda *_arguments, **_options: done)


def test_a_tool_whose_image_cannot_be_had_is_skipped_with_the_reason(tmp_path: Path) -> None:
    why = "grafana/loki:3.7.6 cannot be pulled: docker.io cannot be reached"
    given = context(tmp_path)
    chosen = Effective(given.stack, {}, (Choice("loki", None, "missing", why),), (), ())
    assert list(loki_config.check(context(tmp_path, chosen=chosen))) == [
        Skipped("loki-config", f"there is no image loki: {why}; docs/images.md says how to supply it")
    ]


def test_routes_are_skipped_once_and_not_once_a_case(tmp_path: Path) -> None:
    given = context(tmp_path)
    results = list(alertmanager_routes.check(context(tmp_path, chosen=Effective(given.stack, {}, (), (), ()))))
    assert [type(result) for result in results] == [Skipped]


def test_a_receiver_that_no_case_reaches_is_found(tmp_path: Path) -> None:
    files = context(tmp_path).files
    assert list(alertmanager_routes.check(context(tmp_path))) == []
    cases = [case for case in yaml.safe_load(files[alertmanager_routes.CASES]) if case["receiver"] != "watchdog"]
    files = {**files, alertmanager_routes.CASES: yaml.safe_dump(cases)}
    (finding,) = alertmanager_routes.check(context(tmp_path, files=files))
    assert isinstance(finding, Finding)
    assert finding.what == "has no case that reaches the receiver watchdog"


def test_a_case_without_alerts_is_none_in_which_an_alert_fires(tmp_path: Path) -> None:
    files = context(tmp_path).files
    path = "prometheus/rules/watchdog.test.yml"
    tests = yaml.safe_load(files[path])
    del tests["tests"][0]["alert_rule_test"][0]["exp_alerts"]
    (finding,) = rule_tests.check(context(tmp_path, files={**files, path: yaml.safe_dump(tests)}))
    assert isinstance(finding, Finding)
    assert finding.what == "has no case in which Watchdog fires"


def test_with_an_overlay_rendered_is_not_compared_and_that_is_told(tmp_path: Path) -> None:
    assert list(rendered_current.check(context(tmp_path))) == []
    (skip,) = rendered_current.check(context(tmp_path, committed=None))
    assert isinstance(skip, Skipped)
