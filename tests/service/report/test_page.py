from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from service.report import write_files
from service.schema import Study, StudyState
from tests.service.fakes import failed, full_trial, study_spec, trial

TRIALS = [
    full_trial("default", 0.3, 9e-7, is_default=True),
    full_trial("00001", 0.1, 3e-7),
    trial("00002", failed("00002")),
]


class References(HTMLParser):
    """What a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def page(folder: Path, **changes: Any) -> str:
    study = Study(
        study_id="s",
        spec=study_spec(**changes),
        state=StudyState.COMPLETED,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    write_files(folder, study, TRIALS)
    return (folder / "report.html").read_text()


def test_the_page_loads_nothing_from_a_network(tmp_path: Path) -> None:
    html = page(tmp_path)
    parser = References()
    parser.feed(html)
    assert parser.found
    assert all(reference.startswith(("data:", "#")) for reference in parser.found)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", html)


def test_the_picture_is_inside_the_page(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert base64.b64encode((tmp_path / "pareto.png").read_bytes()).decode() in html


def test_the_default_has_a_row_of_its_own_with_its_values(tmp_path: Path) -> None:
    rows = re.findall(r'<tr class="default">.*?</tr>', page(tmp_path), flags=re.DOTALL)
    assert len(rows) == 2
    assert all("<td>default</td>" in row for row in rows)
    assert all("900 nJ" in row for row in rows)


@pytest.mark.parametrize("said", ["estimated, analytic", "unknown", "diverged", "seed", "Shifts are simulated"])
def test_the_page_says_what_a_reader_must_know(tmp_path: Path, said: str) -> None:
    assert said in page(tmp_path)


def test_energy_is_added_up_by_the_way_it_was_obtained(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert "<td>estimated, codecarbon, fake</td><td>10 J</td>" in html
    assert "<td>unknown</td><td>1 trials</td>" in html


def test_a_name_cannot_smuggle_markup_into_the_page(tmp_path: Path) -> None:
    html = page(tmp_path, dataset="<script>alert(1)</script>")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
