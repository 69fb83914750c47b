"""The documentation keeps up with the code: pages that must exist, links and commands that must work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lookout import checks
from lookout.render import ROOT

CHECKS = ROOT / "scripts" / "lookout" / "checks"
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(CHECKS.glob("*.md")),
]
GUIDES = [page for page in PAGES if page.name != "CHANGELOG.md"]

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
MAKE = re.compile(r"\bmake((?: [A-Z]+=\S+)* [a-z][a-z-]*)")
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def alerts() -> set[str]:
    """Names of the alerts of all rendered rule files."""
    files = (ROOT / "rendered" / "prometheus" / "rules").glob("*.rules.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The relative links of a page, those in code left aside."""
    prose = CODE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in LINK.findall(prose) if "://" not in link]


def make_targets(text: str) -> set[str]:
    """The targets of `make` that a page's code names."""
    code = [*FENCE.findall(text), *CODE.findall(FENCE.sub("", text))]
    return {words.split()[-1] for part in code for words in MAKE.findall(part)}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert alerts()
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == alerts()


def test_every_check_has_a_page_and_every_page_a_check() -> None:
    assert checks.discovered()
    assert {page.stem.replace("_", "-") for page in CHECKS.glob("*.md")} == set(checks.discovered())


@pytest.mark.parametrize("page", sorted(CHECKS.glob("*.md")), ids=shown)
def test_the_page_of_a_check_is_headed_by_its_id_and_says_how_to_mend_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem.replace('_', '-')}\n")
    assert "**Mend.**" in text
    assert len(text.splitlines()) <= 25


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=shown)
def test_a_runbook_says_all_that_somebody_on_call_needs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}\n")
    for part in (
        "**Meaning.**",
        "**Impact",
        "## First looks",
        "## Usual causes",
        "## Mend",
        "## Silence",
        "## Resolves",
    ):
        assert part in text, part


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_relative_link_points_to_something_that_exists(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=shown)
def test_every_page_is_linked_from_the_readme(page: Path) -> None:
    assert shown(page) in links(ROOT / "README.md")


@pytest.mark.parametrize("page", GUIDES, ids=shown)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    known = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    assert known
    assert make_targets(page.read_text(encoding="utf-8")) <= known


def test_the_readme_names_every_make_target() -> None:
    known = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    assert known <= make_targets((ROOT / "README.md").read_text(encoding="utf-8"))
