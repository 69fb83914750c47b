"""What a prepared folder remembers, and what a start takes for done."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import yaml

from lookout.engine import Compose
from lookout.errors import Unsatisfied, WrongUsage
from lookout.model import load
from lookout.project import Project, another_model, prepare, start
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


def play(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | httpx.HTTPError) -> Project:
    """A project whose containers run, and whose servers answer so when they are to read their configuration again."""

    def post(*_arguments: object, **_options: object) -> httpx.Response:
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer

    monkeypatch.setattr(Compose, "__call__", lambda *_arguments, **_options: None)
    monkeypatch.setattr(Compose, "containers", lambda _compose: {"alertmanager": {"Created": "2026-11-21T14:39:01Z"}})
    monkeypatch.setattr(httpx, "post", post)
    return Project(load([ROOT / "stack.yaml"]), Path("nowhere"))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200),
        httpx.Response(503, text="Service Unavailable"),
        httpx.ConnectError("connection refused"),
        httpx.ReadError("connection reset by peer"),
        httpx.RemoteProtocolError("server disconnected without sending a response"),
    ],
    ids=["read", "still starting", "nobody listens", "cut by the proxy", "closed by the proxy"],
)
def test_a_server_that_takes_its_configuration_or_only_starts_is_started(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | httpx.HTTPError
) -> None:
    start(play(monkeypatch, answer))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (httpx.Response(500, text="yaml: line 3\n"), "prometheus does not accept its configuration: yaml: line 3"),
        (
            httpx.ReadTimeout("timed out"),
            "prometheus does not say whether it accepts its configuration (timed out): see its log, then run `make up`",
        ),
    ],
    ids=["refuses", "hangs"],
)
def test_a_server_that_goes_on_with_its_old_configuration_fails_the_start(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | httpx.HTTPError, why: str
) -> None:
    with pytest.raises(Unsatisfied) as failed:
        start(play(monkeypatch, answer))
    assert str(failed.value) == why
