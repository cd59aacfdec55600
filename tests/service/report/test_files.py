from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.report.files import write_files
from service.schema import Study, StudyState, Trial
from service.study_run import StudyRun
from tests.service.fakes import failed, full_trial, study_spec, trial

FILES = ["front.csv", "hypervolume.svg", "ledger.csv", "pareto.png", "pareto.svg", "report.html", "trials.csv"]
DEFAULT = full_trial("default", 0.3, 9.0, is_default=True)
TRIALS = [
    DEFAULT,
    full_trial("00001", 0.1, 3.0),
    full_trial("00002", 0.2, 2.0),
    full_trial("00003", 0.2, 4.0),
    full_trial("00004", 0.0, 0.0, is_full=False, fidelity=3.0),
    trial("00005", failed("00005")),
]


def study(**changes: object) -> Study:
    return Study(
        study_id="s",
        spec=study_spec(**changes),
        state=StudyState.COMPLETED,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "trials",
    [TRIALS, [], [DEFAULT], [trial(f"{i}", failed(f"{i}")) for i in range(3)], [trial("default", is_default=True)]],
    ids=["all kinds", "none", "default alone", "failures alone", "waiting"],
)
def test_all_files_are_written_whatever_the_trials(tmp_path: Path, trials: list[Trial]) -> None:
    write_files(tmp_path, StudyRun(study(), trials))
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES
    assert len(rows(tmp_path / "trials.csv")) == len(trials)


def test_the_front_file_is_the_front(tmp_path: Path) -> None:
    write_files(tmp_path, StudyRun(study(), TRIALS))
    assert [r["trial_id"] for r in rows(tmp_path / "front.csv")] == ["00001", "00002"]
    assert [r["trial_id"] for r in rows(tmp_path / "trials.csv")] == [t.trial_id for t in TRIALS]
    headers = [(tmp_path / name).read_text().splitlines()[0] for name in ("front.csv", "trials.csv")]
    assert headers[0] == headers[1]


def test_three_objectives_make_files_too(tmp_path: Path) -> None:
    objectives = {"error": "minimize", "deployment_energy": "minimize", "energy": "minimize"}
    write_files(tmp_path, StudyRun(study(objectives=objectives), TRIALS))
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES


def test_writing_again_replaces_the_files(tmp_path: Path) -> None:
    write_files(tmp_path, StudyRun(study(), TRIALS))
    write_files(tmp_path, StudyRun(study(), TRIALS[:2]))
    assert len(rows(tmp_path / "trials.csv")) == 2
