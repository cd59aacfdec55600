"""The program as its user meets it: real processes, real data, a real cluster of two workers."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service import pareto
from tests.service.processes import GREENSHIFT, descendants, greenshift, have_ended

FILES = {"trials.csv", "front.csv", "ledger.csv", "study.yaml", "study.sqlite", "report.html", "pareto.png", "models"}
MAX_FIDELITY = 10.0
QUICK = str(Path(__file__).parent / "service" / "quick.yaml")
Row = dict[str, str]


def rows(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_id(table: list[Row]) -> dict[str, Row]:
    return {row["trial_id"]: row for row in table}


def run_digits(folder: Path, n_trials: int) -> subprocess.CompletedProcess[str]:
    return greenshift("run", QUICK, "--workers", "2", "--n-trials", str(n_trials), "--out", str(folder))


@dataclass(frozen=True)
class Finished:
    """A study of six trials in its folder."""

    folder: Path
    process: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("digits") / "out"
    return Finished(folder, run_digits(folder, 6))


def test_a_study_ends_well_and_leaves_all_its_files(six: Finished) -> None:
    assert six.process.returncode == 0, six.process.stderr
    assert six.process.stderr == ""
    assert {p.name for p in six.folder.iterdir()} == FILES
    assert "Pareto front" in six.process.stdout
    assert str(six.folder / "report.html") in six.process.stdout


def test_a_study_has_the_trials_of_its_budget_at_two_fidelities(six: Finished) -> None:
    trials = rows(six.folder / "trials.csv")
    assert len(trials) == len(by_id(trials)) == 6
    assert {row["state"] for row in trials} == {"COMPLETED"}
    assert sorted({float(row["fidelity"]) for row in trials}) == pytest.approx([10 / 3, MAX_FIDELITY])
    assert [row["trial_id"] for row in trials if row["is_default"] == "True"] == ["default"]
    assert by_id(trials)["default"]["shift_depth"] == "10"


def test_every_value_says_how_it_was_obtained(six: Finished) -> None:
    for row in rows(six.folder / "trials.csv"):
        assert 0 <= float(row["error"]) <= 1
        assert 1e-9 < float(row["deployment_energy"]) < 1e-3
        assert (row["error_quality"], row["deployment_energy_quality"]) == ("measured", "estimated")
        # Unknown is empty, never nothing.
        assert row["energy"] == "" or float(row["energy"]) > 0


def test_the_front_is_not_dominated_and_at_maximum_fidelity(six: Finished) -> None:
    front = rows(six.folder / "front.csv")
    trials = rows(six.folder / "trials.csv")
    full = [r for r in trials if float(r["fidelity"]) == MAX_FIDELITY and r["is_default"] != "True"]
    assert front
    assert {float(row["fidelity"]) for row in front} == {MAX_FIDELITY}

    def costs(row: Row) -> pareto.Costs:
        return np.array([float(row["error"]), float(row["deployment_energy"])])

    expected = [r["trial_id"] for r in full if not any(pareto.dominates(costs(o), costs(r)) for o in full)]
    assert sorted(row["trial_id"] for row in front) == sorted(expected)


def test_weights_of_full_trials_are_kept(six: Finished) -> None:
    full = {r["trial_id"] for r in rows(six.folder / "trials.csv") if float(r["fidelity"]) == MAX_FIDELITY}
    assert {p.stem for p in (six.folder / "models").iterdir()} == full


@pytest.mark.slow
def test_a_larger_budget_goes_on_with_the_same_folder(six: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(six.folder, folder)
    before = by_id(rows(folder / "trials.csv"))
    done = run_digits(folder, 8)
    assert done.returncode == 0, done.stderr
    after = by_id(rows(folder / "trials.csv"))
    assert len(after) == 8
    assert {name: after[name] for name in before} == before


def test_a_finished_study_is_not_run_again(six: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(six.folder, folder)
    before = rows(folder / "trials.csv")
    done = run_digits(folder, 6)
    assert done.returncode == 0, done.stderr
    assert rows(folder / "trials.csv") == before


def test_a_folder_with_another_study_is_refused(six: Finished) -> None:
    before = (six.folder / "trials.csv").read_bytes()
    done = greenshift("run", QUICK, "--seed", "7", "--n-trials", "6", "--out", str(six.folder))
    assert done.returncode == 2
    assert "another study" in done.stderr
    assert "seed" in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert (six.folder / "trials.csv").read_bytes() == before


@dataclass(frozen=True)
class Interrupted:
    """A study in its folder whose user pressed Ctrl-C once two trials were finished."""

    folder: Path
    code: int
    seconds: float
    errors: str
    children: list[int]
    trials: dict[str, Row]

    @property
    def finished(self) -> dict[str, Row]:
        return {name: row for name, row in self.trials.items() if row["state"] == "COMPLETED"}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("interrupted") / "out"
    arguments = ["run", QUICK, "--workers", "2", "--n-trials", "6", "--seed", "5", "--out", str(folder)]
    # A session of its own, so that the signal reaches all of it as Ctrl-C would, and not us.
    with subprocess.Popen(
        [*GREENSHIFT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        n_finished = 0
        while n_finished < 2 and (line := process.stdout.readline()):
            n_finished += "COMPLETED" in line
        children = descendants(process.pid)
        pressed = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        seconds = time.monotonic() - pressed
    return Interrupted(folder, process.returncode, seconds, errors, children, by_id(rows(folder / "trials.csv")))


def test_ctrl_c_ends_a_study_within_five_seconds(interrupted: Interrupted) -> None:
    assert interrupted.code == 130, interrupted.errors
    assert interrupted.seconds < 5
    assert "Traceback" not in interrupted.errors


def test_ctrl_c_leaves_no_process_behind(interrupted: Interrupted) -> None:
    assert len(interrupted.children) >= 2
    assert have_ended(interrupted.children, seconds=5)


def test_ctrl_c_keeps_what_is_finished(interrupted: Interrupted) -> None:
    assert 2 <= len(interrupted.finished) < 6
    assert {row["state"] for row in interrupted.trials.values()} <= {"COMPLETED", "WAITING"}
    assert {p.name for p in interrupted.folder.iterdir()} >= FILES - {"models"}


@pytest.mark.slow
def test_the_command_that_ctrl_c_names_completes_the_study(interrupted: Interrupted) -> None:
    command = shlex.split(interrupted.errors.split("go on with: ")[1].splitlines()[0])
    assert command[0] == "greenshift"
    done = greenshift(*command[1:], "--workers", "2")
    assert done.returncode == 0, done.stderr
    after = by_id(rows(interrupted.folder / "trials.csv"))
    assert len(after) == 6
    assert {row["state"] for row in after.values()} == {"COMPLETED"}
    assert {name: after[name] for name in interrupted.finished} == interrupted.finished
