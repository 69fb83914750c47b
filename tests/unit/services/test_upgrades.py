"""The upgrade worker: what it reads, what it changes, what its patch is worth."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from automation_services import catalogue
from automation_services.upgrades import apply, upgrade
from automation_services.work import WorkFailed
from lookout.render import ROOT
from simulators.github import FILES

REQUIREMENTS = "# pinned\nFlask==2.3.3  # web\nrequests>=2.28.2\nhttpx==0.28.1\nunknown==1.0\n-r other.txt\npytest\n"
PACKAGE = '{\n  "name": "page",\n  "version": "1.6.8",\n  "dependencies": {"x": "latest",\n    "axios": "1.6.8"\n  },\n'
PACKAGE += '  "devDependencies": {\n    "typescript": "~4.9.5"\n  }\n}'
GO = "module example.test/probe\n\ngo 1.26\n\nrequire golang.org/x/net v0.17.0\n\nrequire (\n"
GO += "\tgithub.com/google/uuid v1.3.0 // indirect\n\tgithub.com/stretchr/testify v1.10.0\n)\n"


@pytest.mark.parametrize(
    ("manifest", "content", "across_majors", "changes"),
    [
        ("requirements.txt", REQUIREMENTS, False, {"requests": ("2.28.2", "2.32.3")}),
        ("requirements.txt", REQUIREMENTS, True, {"flask": ("2.3.3", "3.1.0"), "requests": ("2.28.2", "2.32.3")}),
        ("package.json", PACKAGE, False, {"axios": ("1.6.8", "1.7.9")}),
        ("package.json", PACKAGE, True, {"axios": ("1.6.8", "1.7.9"), "typescript": ("4.9.5", "5.7.2")}),
        ("go.mod", GO, False, {"github.com/google/uuid": ("1.3.0", "1.6.0")}),
        ("requirements.txt", "numpy==2.2.1", False, {}),
        ("requirements.txt", "numpy==2.1.3", False, {"numpy": ("2.1.3", "2.2.1")}),
    ],
)
def test_dependencies_go_to_the_newest_release_that_is_allowed(
    manifest: str, content: str, across_majors: bool, changes: dict[str, tuple[str, str]]
) -> None:
    done = upgrade(manifest, content, across_majors)
    assert done.changes == changes
    patched = apply(content, done.patch) if done.patch else content
    for old, new in changes.values():
        content = content.replace(old, new, 1) if manifest != "package.json" else content
        assert new in patched
    if manifest != "package.json":
        assert patched == content
    assert '"version": "1.6.8"' in patched or manifest != "package.json"
    assert not upgrade(manifest, patched, across_majors).changes


@pytest.mark.parametrize(("manifest", "content"), [("package.json", PACKAGE), ("go.mod", GO)])
def test_the_patch_is_one_for_other_programs_too(manifest: str, content: str, tmp_path: Path) -> None:
    done = upgrade(manifest, content, across_majors=True)
    (tmp_path / manifest).write_text(content)
    outside = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}  # of any repository that it may be in
    subprocess.run(["git", "apply"], input=done.patch, text=True, cwd=tmp_path, env=outside, check=True)
    assert (tmp_path / manifest).read_text() == apply(content, done.patch)


@pytest.mark.parametrize(
    ("manifest", "content", "reason"),
    [
        ("requirements.txt", "flask = 3", "line 1 is no requirement"),
        ("requirements.txt", "pytest\n", "no dependency with a version"),
        ("package.json", "{", "not JSON"),
        ("package.json", "[]", "no object"),
        ("package.json", '{"dependencies": []}', "dependencies is no object"),
        ("go.mod", "require (\n)\n", "no module line"),
        # int() takes no more than 4300 digits.
        ("requirements.txt", f"flask=={'1' * 5000}\n", "no dependency with a version"),
        ("requirements.txt", f"flask==1.{'1' * 5000}\n", "no dependency with a version"),
        ("package.json", f'{{"dependencies": {{\n"axios": "{"1" * 5000}"\n}}}}', "no dependency with a version"),
        ("go.mod", f"module a.test/a\nrequire golang.org/x/net v{'1' * 5000}\n", "no dependency with a version"),
    ],
)
def test_what_is_no_manifest_fails_with_the_reason(manifest: str, content: str, reason: str) -> None:
    with pytest.raises(WorkFailed, match=reason):
        upgrade(manifest, content)


def test_a_patch_applies_to_what_it_was_made_for_and_to_nothing_else() -> None:
    patch = upgrade("requirements.txt", REQUIREMENTS).patch
    with pytest.raises(WorkFailed, match="does not fit"):
        apply(REQUIREMENTS.replace("2.28.2", "2.28.1"), patch)
    with pytest.raises(WorkFailed, match="does not fit"):
        apply("", patch)


def test_a_patch_is_worth_more_the_more_is_new_and_pinned_and_the_smaller_its_steps() -> None:
    def quality(content: str, across_majors: bool = True) -> float | None:
        return upgrade("requirements.txt", content, across_majors).quality

    patched = quality("httpx==0.28.0\n")
    assert patched == 1.0
    assert quality("requests==2.28.2\n") == 0.94
    assert quality("flask==2.3.3\n") == 0.82
    assert quality("flask>=2.3.3\n") == 0.62
    assert quality("django==4.2.1\n", across_majors=False) == 0.5
    assert quality("httpx==0.28.0\nunknown==1.0\n") == 0.75
    assert quality("httpx==0.28.1\n") is None


def test_an_upgrade_that_breaks_fails_and_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> str:
        raise IndexError("a bug")

    monkeypatch.setattr(catalogue, "target", broken)
    with pytest.raises(WorkFailed, match="cannot be upgraded"):
        upgrade("requirements.txt", REQUIREMENTS)


def test_the_example_of_the_docs_is_upgraded() -> None:
    text = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    bodies = [json.loads(body) for body in re.findall(r"/api/upgrades -d '(.*)'", text)]
    assert bodies
    for body in bodies:
        assert upgrade(**body).changes


def test_releases_stand_oldest_first() -> None:
    for packages in catalogue.RELEASES.values():
        for releases in packages.values():
            assert list(releases) == sorted(releases, key=catalogue.parse)


@pytest.mark.parametrize("manifest", FILES)
def test_the_simulated_repository_has_manifests_that_can_be_upgraded(manifest: str) -> None:
    assert upgrade(manifest, FILES[manifest]).changes
