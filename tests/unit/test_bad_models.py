"""Every bad model of the corpus ends with exit code 2 and names file, line, cause and mend; nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lookout import cli
from lookout.render import ROOT
from lookout.write import existing

CORPUS = sorted((Path(__file__).parent / "bad_models").glob("*.yaml"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("command", ["render", "model"])
def test_a_bad_model_is_refused_with_its_place_and_its_mend(
    path: Path, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    before = existing(ROOT / "rendered")
    expected = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# expect: ")

    code = cli.main(["--model", str(ROOT / "stack.yaml"), "--model", str(path), command])

    said = capsys.readouterr().err
    assert code == 2, said
    for part in expected.replace("{file}", re.escape(str(path.relative_to(ROOT)))).split(" … "):
        assert re.search(part, said), f"{part!r} is not in:\n{said}"
    assert "mend: " in said
    assert existing(ROOT / "rendered") == before


def test_the_corpus_is_not_empty() -> None:
    assert len(CORPUS) >= 40


def test_every_problem_of_a_model_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("retention: {metrics: soon}\nservice_memory: none\n", encoding="utf-8")

    assert cli.main(["--model", str(ROOT / "stack.yaml"), "--model", str(overlay), "model"]) == 2

    said = capsys.readouterr().err
    assert f"{overlay}:1: retention.metrics" in said
    assert f"{overlay}:2: service_memory" in said


def test_a_model_file_that_is_not_there_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--model", "nowhere.yaml", "model"]) == 2
    assert "nowhere.yaml:1: cannot be read" in capsys.readouterr().err
