"""`make bench`: which benchmarks it runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lookout.render import ROOT
from tests.benchmarks import __main__ as bench


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The benchmarks that were run, each of which measures nothing."""
    names: list[str] = []

    def measure(name: str) -> Iterator[dict[str, Any]]:
        names.append(name)
        yield {"seconds": 0}

    monkeypatch.setattr(bench, "BENCHMARKS", {name: lambda name=name: measure(name) for name in bench.BENCHMARKS})
    return names


def test_without_names_all_are_run_but_the_one_that_builds_every_image(ran: list[str]) -> None:
    assert bench.main([]) == 0
    assert ran == [name for name in bench.BENCHMARKS if name != "cold"]


def test_those_named_are_run_in_their_order_and_an_unknown_one_is_refused(
    ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["load", "cold"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        '{"benchmark": "load", "seconds": 0}',
        '{"benchmark": "cold", "seconds": 0}',
    ]
    assert bench.main(["load", "lode"]) == 2
    assert "no benchmark lode; there are: " in capsys.readouterr().err
    assert ran == ["load", "cold"]


@pytest.mark.parametrize("only", ["", "load cold"])
def test_make_passes_the_names_on(only: str) -> None:
    command = ["make", "--no-print-directory", "--dry-run", "bench", f"ONLY={only}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1].partition("tests.benchmarks")[2].strip() == only


def test_the_page_names_every_benchmark() -> None:
    page = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    assert [name for name in bench.BENCHMARKS if f"`{name}`" not in page] == []
