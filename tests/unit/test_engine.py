"""Taking a project down on an engine that miscounts: what engine 20.10.24 answered is played back by a script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lookout import engine
from lookout.engine import Compose
from lookout.errors import Unsatisfied

REFUSAL = (
    "failed to remove network t_edge: Error response from daemon: error while removing network: "
    "network t_edge id a58bbd27dc04 has active endpoints"
)


def play(folder: Path, monkeypatch: pytest.MonkeyPatch, refusal: str) -> Compose:
    """A ``docker`` whose Compose refuses to remove the network ``t_edge``, which is empty."""
    script = folder / "docker"
    script.write_text(
        f"""#!/bin/sh
case "$1 $2" in
  "network ls") echo a58bbd27dc04 ;;
  "network inspect") echo '[{{"Name": "t_edge", "Containers": {{}}}}]' ;;
  *) echo "{refusal}" >&2; exit 1 ;;
esac
""",
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(engine, "root", lambda: "/var/lib/docker")
    monkeypatch.setattr(engine, "NETWORK_GONE_WITHIN", 0)
    return Compose(folder, "t")


def test_an_empty_network_that_the_engine_does_not_remove_is_reported_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert play(tmp_path, monkeypatch, REFUSAL).down() == {"t_edge": []}


def test_any_other_refusal_is_a_failure_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsatisfied, match="no space left"):
        play(tmp_path, monkeypatch, "no space left on device").down()
