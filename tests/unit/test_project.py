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


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("pagerduty", "a receiver whose secret is missing:\n  secrets/pagerduty: put the secret into this file"),
        ("redis_password", "of one that `make up` generates:\n  secrets/redis_password: give the file another name"),
    ],
)
def test_a_secret_that_is_missing_or_has_a_name_that_is_taken_is_named_before_anything_is_done(
    tmp_path: Path, secret: str, said: str
) -> None:
    overlay = tmp_path / "overlay.yaml"
    oncall = {"pagerduty": {"routing_key_file": f"secrets/{secret}"}}
    overlay.write_text(
        yaml.safe_dump({"receivers": {"oncall": oncall}, "routes": {"critical": ["oncall"]}}), encoding="utf-8"
    )
    files = [ROOT / "stack.yaml", overlay]
    assert load(files).secret_files
    with pytest.raises(WrongUsage) as refused:
        prepare(files, tmp_path / "project", "auto", False, print)
    assert said in str(refused.value)
    assert not (tmp_path / "project").exists()
