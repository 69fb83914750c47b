"""What a prepared folder remembers."""

from __future__ import annotations

import json
from pathlib import Path

from lookout.project import another_model


def test_a_folder_says_when_it_gets_another_model_than_before(tmp_path: Path) -> None:
    stack, mine = Path("stack.yaml"), Path("mine.yaml")
    assert another_model(tmp_path, [stack]) is None
    state = {"model": [str(path.resolve()) for path in (stack, mine)]}
    (tmp_path / ".lookout.json").write_text(json.dumps(state), encoding="utf-8")
    assert another_model(tmp_path, [stack, mine]) is None
    assert another_model(tmp_path, [stack]) == "model      stack.yaml; before: stack.yaml + mine.yaml"
