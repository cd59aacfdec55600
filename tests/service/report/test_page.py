from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from service.ledger import Entry, Ledger
from service.report.files import write_files
from service.schema import Study, StudyState, Trial
from service.study_run import StudyRun
from tests.service.fakes import failed, full_trial, study_spec, trial

TRIALS = [
    full_trial("default", 0.3, 9e-7, is_default=True),
    full_trial("default-recommended", 0.05, 8e-7, is_default=True),
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


def page(folder: Path, ledger: Ledger | None = None, trials: list[Trial] = TRIALS, **changes: Any) -> str:
    study = Study(
        study_id="s",
        spec=study_spec(**changes),
        state=StudyState.COMPLETED,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    write_files(folder, StudyRun(study, trials, ledger or Ledger()))
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
    assert len(rows) == 4
    assert ["<td>default</td>" in row and "900 nJ" in row for row in rows] == [True, False] * 2
    assert ["<td>default-recommended</td>" in row and "800 nJ" in row for row in rows] == [False, True] * 2


def test_the_page_says_of_each_baseline_what_it_is_and_how_many_networks_are_better(tmp_path: Path) -> None:
    text = " ".join(page(tmp_path).split())
    assert (
        "1 of them dominate the default (DeepShift-PS, 5 bits, 16+16), 0 of them dominate the default trained" in text
    )
    assert "<code>default-recommended</code>, the default trained as DeepShift advises (RAdam, 0.01)." in text


@pytest.mark.parametrize("said", ["estimated, analytic", "unknown", "diverged", "seed", "Shifts are simulated"])
def test_the_page_says_what_a_reader_must_know(tmp_path: Path, said: str) -> None:
    assert said in page(tmp_path)


def test_a_study_without_trials_is_told_without_a_figure(tmp_path: Path) -> None:
    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page(tmp_path, trials=[]), flags=re.DOTALL).split())
    told = text.split("How to reproduce")[0]
    assert "best? No trial has begun yet. What was searched" in told
    assert "There is no front yet: no network that can be compared has completed at full fidelity. No trial" in told
    assert "No trial has ended yet, so nothing is known of energy." in told
    for wrong in ("0 networks", "0 trials", "unknown", "estimated at", "could be read"):
        assert wrong not in told


def test_the_reference_point_has_units(tmp_path: Path) -> None:
    said = "Hypervolume 3e-10 J × J from the reference point validation error 110 mJ, deployment energy 330 nJ."
    assert said in page(tmp_path)


def test_the_page_says_what_the_search_cost_by_cause_and_never_adds_up_across_ways(tmp_path: Path) -> None:
    ledger = Ledger(
        [
            Entry("completed", "a", "H100", "nvml_energy_timeline", "measured", n_attempts=2, joules=1200.0),
            Entry("completed", "b", "H100", "nvml_energy_timeline", "measured", n_attempts=1, joules=34.0),
            Entry("completed", "c", "CPU", "codecarbon", "estimated", n_attempts=3, n_unknown=1, joules=5.0),
            Entry("abandoned", "", "", "none", "none", n_attempts=4, n_unknown=4),
        ]
    )
    cells = [
        re.findall(r"<td[^>]*>(.*?)</td>", row)[1:]
        for row in re.findall(r"<tr>.*?</tr>", page(tmp_path, ledger).split("What the search cost")[1])
    ]
    assert ["measured, nvml_energy_timeline, H100", "3", "1,234 J"] in cells
    assert ["estimated, codecarbon, CPU", "3", "5 J, and 1 unknown"] in cells
    assert ["unknown", "4", "unknown"] in cells


def test_a_name_cannot_smuggle_markup_into_the_page(tmp_path: Path) -> None:
    html = page(tmp_path, dataset="<script>alert(1)</script>")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
