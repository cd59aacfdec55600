"""The documentation site: it builds without a warning, and what is wrong in a page is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(sources: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Builds as `make docs` does."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "deploy/docs", ".", str(out)]
    return subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the site is made of and shows."""
    copy = tmp_path_factory.mktemp("sources")
    for file in [*ROOT.glob("*.md"), ROOT / "CITATION.cff"]:
        shutil.copy(file, copy)
    shutil.copytree(ROOT / "deploy", copy / "deploy")
    return copy


def test_make_docs_builds_as_the_tests_do() -> None:
    assert "sphinx-build -W --keep-going -q -c deploy/docs . build/docs" in (ROOT / "Makefile").read_text()


def test_the_site_has_every_page_and_no_warning(sources: Path, tmp_path: Path) -> None:
    built = build(sources, tmp_path)

    assert (built.returncode, built.stderr) == (0, "")
    pages = [*ROOT.glob("*.md"), *(ROOT / "deploy").glob("*.md"), *(ROOT / "deploy/docs").glob("*.md")]
    for page in pages:
        assert (tmp_path / page.relative_to(ROOT)).with_suffix(".html").is_file(), page
    assert "deploy/docs/index.html" in (tmp_path / "index.html").read_text()
    navigation = (tmp_path / "deploy/docs/index.html").read_text()
    assert [part in navigation for part in ("Tutorial", "How-to", "Reference", "Explanation")] == [True] * 4
    assert 'href="tutorial.html"' in navigation


def test_a_link_to_nowhere_and_a_page_that_nobody_finds_fail(sources: Path, tmp_path: Path) -> None:
    lost = sources / "deploy/docs/lost.md"
    lost.write_text("# Lost\n\n[a page](nowhere.md), [a heading](store.md#nothing), [another](#not-here)\n")

    built = build(sources, tmp_path)

    lost.unlink()
    assert built.returncode == 1
    for fault in ("nowhere.md", "'nothing'", "'not-here'", "toctree"):
        assert fault in built.stderr, fault
