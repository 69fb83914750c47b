"""What a prepared folder remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lookout.errors import WrongUsage
from lookout.model import load
from lookout.project import another_model, prepare
from lookout.render import ROOT


def test_a_folder_says_when_it_gets_another_model_than_before(tmp_path: Path) -> None:
    stack, mine = Path("stack.yaml"), Path("mine.yaml")
    assert another_model(tmp_path, [stack]) is None
    state = {"model": [str(path.resolve()) for path in (stack, mine)]}
    (tmp_path / ".lookout.json").write_text(json.dumps(state), encoding="utf-8")
    assert another_model(tmp_path, [stack, mine]) is None
    assert another_model(tmp_path, [stack]) == "model      stack.yaml; before: stack.yaml + mine.yaml"


def test_a_secret_that_is_missing_is_named_before_anything_is_done(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    oncall = {"pagerduty": {"routing_key_file": "secrets/pagerduty"}}
    overlay.write_text(
        yaml.safe_dump({"receivers": {"oncall": oncall}, "routes": {"critical": ["oncall"]}}), encoding="utf-8"
    )
    files = [ROOT / "stack.yaml", overlay]
    assert load(files).secret_files
    with pytest.raises(WrongUsage, match="a receiver whose secret is missing:\n  secrets/pagerduty: put the secret"):
        prepare(files, tmp_path / "project", "auto", False, print)
    assert not (tmp_path / "project").exists()
