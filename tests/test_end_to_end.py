"""The program as its user meets it: real processes, real data, a real cluster of two workers."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service import pareto
from service.store import Store
from tests.service.processes import GREENSHIFT, descendants, greenshift, have_ended
from tests.worker.distributions import write

FILES = {
    "trials.csv", "front.csv", "ledger.csv", "study.yaml", "study.sqlite", "report.html", "models",
    "pareto.png", "pareto.svg", "hypervolume.svg",
}  # fmt: skip
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


def test_every_network_brings_its_layers(six: Finished) -> None:
    with Store(six.folder / "study.sqlite") as store:
        trials = store.trials(store.studies()[0].study_id)
    assert len(trials) == 6
    for trial in trials:
        assert trial.result is not None
        assert [layer.is_shift for layer in trial.result.layers].count(True) == trial.shift_depth
        assert all(layer.n_weights == layer.n_zeros + sum(layer.exponents.values()) for layer in trial.result.layers)


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
    assert done.returncode == 3
    assert "another study" in done.stderr
    assert "seed" in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert (six.folder / "trials.csv").read_bytes() == before


@dataclass(frozen=True)
class Interrupted:
    """A study in its folder whose user pressed Ctrl-C once two trials were finished."""

    folder: Path
    code: int
    errors: str
    children: list[int]
    trials: dict[str, Row]

    @property
    def finished(self) -> dict[str, Row]:
        return {name: row for name, row in self.trials.items() if row["state"] == "COMPLETED"}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("interrupted") / "out"
    arguments = ["run", QUICK, "--workers", "2", "--n-trials", "16", "--seed", "5", "--out", str(folder)]
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
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    return Interrupted(folder, process.returncode, errors, children, by_id(rows(folder / "trials.csv")))


def test_ctrl_c_ends_a_study_without_waiting_for_its_trials(interrupted: Interrupted) -> None:
    assert interrupted.code == 130, interrupted.errors
    assert "WAITING" in {row["state"] for row in interrupted.trials.values()}
    assert "Traceback" not in interrupted.errors


def test_ctrl_c_leaves_no_process_behind(interrupted: Interrupted) -> None:
    assert len(interrupted.children) >= 2
    assert have_ended(interrupted.children)


def test_ctrl_c_keeps_what_is_finished(interrupted: Interrupted) -> None:
    assert 2 <= len(interrupted.finished) < 16
    assert {row["state"] for row in interrupted.trials.values()} <= {"COMPLETED", "WAITING"}
    assert {p.name for p in interrupted.folder.iterdir()} >= FILES - {"models"}


@pytest.mark.slow
def test_the_command_that_ctrl_c_names_completes_the_study(interrupted: Interrupted) -> None:
    command = shlex.split(interrupted.errors.split("go on with: ")[1].splitlines()[0])
    assert command[0] == "greenshift"
    assert command[-2:] == ["--workers", "2"]
    done = greenshift(*command[1:])
    assert done.returncode == 0, done.stderr
    after = by_id(rows(interrupted.folder / "trials.csv"))
    assert len(after) == 16
    assert {row["state"] for row in after.values()} == {"COMPLETED"}
    assert {name: after[name] for name in interrupted.finished} == interrupted.finished


VALLEY = Path(__file__).parent / "worker" / "valley.py"
TASK_STUDY = """\
name: valley
task: valley
budget: {n_trials: 12}
"""


@dataclass(frozen=True)
class OfATask:
    """A study of a task that an installed package brings, in its folder, and who has imported that package."""

    folder: Path
    process: subprocess.CompletedProcess[str]
    importers: list[str]


def greenshift_with_package(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in `folder`, where all its processes see what is installed in `site`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), *sys.path]))
        return greenshift(*arguments, cwd=folder)


@pytest.fixture(scope="module")
def of_a_task(tmp_path_factory: pytest.TempPathFactory) -> OfATask:
    folder = tmp_path_factory.mktemp("task")
    log = folder / "importers"
    note = f"\nimport sys\nwith open({str(log)!r}, 'a') as log:\n    print('torch' in sys.modules, file=log)\n"
    write(
        folder / "site",
        "valley_package",
        VALLEY.read_text() + note,
        "[greenshift.tasks]\nvalley = valley_package:valley",
    )
    (folder / "study.yaml").write_text(TASK_STUDY)
    done = greenshift_with_package(folder, "run", "study.yaml", "--workers", "2", "--out", "out")
    return OfATask(folder, done, log.read_text().split())


@pytest.mark.slow
def test_a_study_of_a_task_runs_like_any_other(of_a_task: OfATask) -> None:
    assert of_a_task.process.returncode == 0, of_a_task.process.stderr
    assert of_a_task.process.stderr == ""
    assert {p.name for p in (of_a_task.folder / "out").iterdir()} == FILES
    trials = rows(of_a_task.folder / "out" / "trials.csv")
    assert {row["state"] for row in trials} == {"COMPLETED"}
    assert len(trials) == 12
    for row in trials:
        left = float(row["config.start"]) * (1 - float(row["config.rate"])) ** round(float(row["fidelity"]))
        assert float(row["height"]) == pytest.approx(left**2)
        assert row["energy"] == "" or float(row["energy"]) > 0
    assert "task valley" in (of_a_task.folder / "out" / "report.html").read_text()
    said = of_a_task.process.stdout
    assert "fidelity 9): height 244 µm, calm 0.5" in said
    assert not any(word in said for word in ("networks", "depth", "8-bit", "None"))


@pytest.mark.slow
def test_only_processes_of_trials_import_the_package_of_a_task(of_a_task: OfATask) -> None:
    # Neither the coordinator nor a Dask worker has loaded torch. A worker may be slower to answer than the study is.
    assert of_a_task.importers in (["True"], ["True", "True"])


@pytest.mark.slow
def test_a_study_of_a_task_goes_on_from_its_own_file_and_is_not_finalized(of_a_task: OfATask) -> None:
    folder = of_a_task.folder
    before = by_id(rows(folder / "out" / "trials.csv"))
    for study, n_trials in (("study.yaml", "13"), ("out/study.yaml", "14")):
        options = ("--n-trials", n_trials, "--out", "out", "--workers", "1")
        done = greenshift_with_package(folder, "run", study, *options)
        assert done.returncode == 0, done.stderr
    after = by_id(rows(folder / "out" / "trials.csv"))
    assert len(after) == 14
    assert {name: after[name] for name in before} == before
    refused = greenshift("finalize", "out", cwd=folder)
    assert refused.returncode == 2
    assert refused.stderr == "error: study: out is of task valley; only networks are judged by a test split\n"


@pytest.mark.slow
def test_a_task_that_no_worker_knows_is_refused_before_any_trial(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TASK_STUDY)
    done = greenshift("run", "study.yaml", "--workers", "1", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.endswith("task must be an entry point of greenshift.tasks (none is installed), got 'valley'")
    assert not (tmp_path / "out").exists()
