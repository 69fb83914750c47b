"""Checks without an engine: what they say where there is nothing to check with, or nothing that was checked."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookout import checks, engine
from lookout.checks import Report, alertmanager_routes, jaeger_config, loki_config, rendered_current, rule_tests
from lookout.checks.base import Context, Finding, Skipped
from lookout.images import Choice, Effective
from lookout.model import Stack, load
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


def with_stores(stack: Stack, *stores: str) -> Stack:
    """The model with other trace stores."""
    return stack.model_copy(update={"traces": stack.traces.model_copy(update={"stores": stores})})


def looked_at(monkeypatch: pytest.MonkeyPatch, stack: Stack, here: Stack, identity: str) -> tuple[Report, list[str]]:
    """What a check says where this machine runs ``here``, and the files that its tool got and refused, in order."""
    seen: list[str] = []

    def tool(_image: str, _entrypoint: str, _arguments: Any, mounts: dict[Path, str], **_options: Any) -> Any:
        (folder,) = mounts
        seen.extend(path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()))
        return subprocess.CompletedProcess([], 1, "no", "")

    monkeypatch.setattr(engine, "tool", tool)
    chosen = Effective(here, as_written(here), (), (), ())
    return checks.run_all(stack, chosen, None, lambda _text: None, only=identity), seen


def test_where_jaeger_takes_tempos_place_the_collectors_file_of_both_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = load([ROOT / "stack.yaml"])
    report, (written, here) = looked_at(monkeypatch, stack, with_stores(stack, "jaeger"), "collector-config")
    assert ("otlphttp/tempo" in written, "otlphttp/jaeger" in written) == (True, False)
    assert ("otlphttp/tempo" in here, "otlphttp/jaeger" in here) == (False, True)
    assert [finding.where for finding in report.findings] == ["rendered/collector", "build/project/collector"]


def test_where_jaeger_takes_tempos_place_its_file_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = load([ROOT / "stack.yaml"])
    report, (here,) = looked_at(monkeypatch, stack, with_stores(stack, "jaeger"), "jaeger-config")
    assert "jaeger_storage" in here
    assert ([finding.where for finding in report.findings], report.skipped) == (["build/project/jaeger"], [])


def test_nothing_is_checked_twice_where_the_stores_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = with_stores(load([ROOT / "stack.yaml"]), "jaeger")
    assert [len(looked_at(monkeypatch, stack, stack, f"{name}-config")[1]) for name in ("collector", "jaeger")] == [
        1,
        1,
    ]


def test_jaegers_file_is_skipped_for_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stack = load([ROOT / "stack.yaml"])
    assert looked_at(monkeypatch, stack, stack, "jaeger-config")[0].skipped == [
        Skipped("jaeger-config", "no server runs from the image jaeger, by the model or on this machine")
    ]
    both = with_stores(stack, "jaeger", "tempo")
    missing = Choice("jaeger", None, "missing", "it cannot be pulled")
    chosen = Effective(with_stores(stack, "tempo"), {}, (missing,), (), ())
    (skip,) = jaeger_config.check(context(tmp_path, stack=both, files=render(both), chosen=chosen))
    assert str(skip.why if isinstance(skip, Skipped) else skip).startswith("there is no image jaeger: it cannot be")


def test_with_an_overlay_rendered_is_not_compared_and_that_is_told(tmp_path: Path) -> None:
    assert list(rendered_current.check(context(tmp_path))) == []
    (skip,) = rendered_current.check(context(tmp_path, committed=None))
    assert isinstance(skip, Skipped)
