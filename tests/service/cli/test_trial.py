from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.service.cli.commands import Call, assert_refused
from tests.service.processes import GREENSHIFT, descendants, greenshift, have_ended, wait_until
from tests.worker import distributions
from tests.worker.misbehaving import BEGUN, install
from worker.schema import FailureKind, Recipe, TrialResult, TrialSpec
from worker.supervision import KILL_SECONDS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def restore_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs in this process must not keep the handlers of the tests."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def spec_file(folder: Path, **changes: Any) -> str:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8", "recipe": Recipe()}
    spec = TrialSpec(**{**fields, "shift_depth": 1, "epochs": 2})
    path = folder / "spec.json"
    path.write_text(json.dumps(spec.model_dump(mode="json") | changes))
    return str(path)


def test_a_trial_prints_its_result_and_tells_its_epochs_meanwhile(tmp_path: Path) -> None:
    done = greenshift("trial", spec_file(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = TrialResult.model_validate_json(done.stdout)
    assert (result.study_id, result.trial_id, result.failure) == ("s", "t", None)
    assert result.objectives["error"].value is not None
    said = [line.split(",")[0] for line in done.stderr.splitlines()]
    assert said == [f"epoch {n} of 2: training loss {result.training_loss[n - 1]:.4g}" for n in (1, 2)]


def test_a_trial_inside_the_program_prints_the_same(call: Call, tmp_path: Path) -> None:
    done = call("trial", spec_file(tmp_path), "--in-process")
    assert done.returncode == 0
    assert TrialResult.model_validate_json(done.stdout).failure is None
    assert len(done.stderr.splitlines()) == 2


def test_threads_wait_as_on_a_worker(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "so that it is put back")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    seen = []

    def look(spec: TrialSpec, **_: Any) -> TrialResult:
        seen.append(os.environ["OMP_WAIT_POLICY"])
        return TrialResult(study_id=spec.study_id, trial_id=spec.trial_id, attempt=1)

    monkeypatch.setattr("service.cli.trial.run_trial", look)
    assert call("trial", spec_file(tmp_path)).returncode == 0
    assert seen == ["PASSIVE"]


def test_a_trial_of_several_seeds_says_which_one_it_trains(tmp_path: Path) -> None:
    done = greenshift("trial", spec_file(tmp_path, n_seeds=2, seed=7), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(TrialResult.model_validate_json(done.stdout).by_seed) == 2
    said = [line.split(": ")[0] for line in done.stderr.splitlines()]
    assert said == [f"seed {seed}, epoch {n} of 2" for seed in (7, 8) for n in (1, 2)]


def test_a_failed_trial_prints_its_result_and_why(call: Call, tmp_path: Path) -> None:
    recipe = Recipe(learning_rate=1e30).model_dump()
    done = call("trial", spec_file(tmp_path, recipe=recipe, shift_depth=0), "--in-process")
    assert done.returncode == 5
    failure = TrialResult.model_validate_json(done.stdout).failure
    assert failure is not None
    assert failure.kind is FailureKind.DIVERGED
    assert done.stderr.splitlines() == [f"error: the trial failed: diverged: {failure.message}"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, ["epochs: must be at least 1, got 0"]),
        ({"recipe": {"optimizer": "sdg"}}, ["recipe.optimizer", "'sgd'", "got 'sdg' (did you mean sgd?)"]),
        ({"recipe": {"colour": "red"}}, ["recipe.colour", "unknown key", "weight_bits"]),
        ({"epoch": 1}, ["epoch: unknown key (did you mean epochs?); allowed are study_id"]),
        ({"seed": 2**64}, ["seed: must be below 18446744073709551616"]),
        ({"recipe": []}, ["recipe: must be a mapping", "got []"]),
        ({"time_limit_seconds": -1}, ["time_limit_seconds: must be above 0, got -1"]),
        ({"network": "vgg7"}, ["network", "resnet8", "'vgg7'"]),
        ({"shift_depth": 11}, ["shift_depth", "0..10", "11"]),
    ],
    ids=str,
)
def test_a_spec_that_cannot_be_is_refused_in_one_line(
    call: Call, tmp_path: Path, changes: dict[str, Any], said: list[str]
) -> None:
    done = call("trial", spec_file(tmp_path, **changes), "--in-process")
    assert_refused(done, *said)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said", "n_lines"),
    [
        ("{", "spec.json is no JSON: Expecting property name", 1),
        ("{}", "study_id: missing", 6),
        ("[]", "spec: must be a mapping of keys to values, got []", 1),
        (None, "spec.json cannot be read: No such file or directory\n", 1),
    ],
)
def test_a_file_that_holds_no_spec_is_refused_in_few_lines(
    call: Call, tmp_path: Path, content: str | None, said: str, n_lines: int
) -> None:
    if content is not None:
        (tmp_path / "spec.json").write_text(content)
    done = call("trial", str(tmp_path / "spec.json"))
    assert_refused(done, said)
    assert (len(done.stderr.splitlines()), done.stdout) == (n_lines, "")


def test_an_evaluation_of_a_task_tells_its_steps_and_prints_its_result(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[greenshift.tasks]\nvalley = tests.worker.valley:valley\n"
    distributions.install(monkeypatch, tmp_path / "site", "unused", "", points)
    spec = {"study_id": "s", "trial_id": "t", "task": "valley", "config": {"rate": 0.5, "start": 8.0}, "fidelity": 2}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    done = call("trial", str(path), "--in-process")
    assert done.returncode == 0
    assert TrialResult.model_validate_json(done.stdout).objectives["height"].value == 4.0
    assert [line.split(",")[0] for line in done.stderr.splitlines()] == ["step 1: loss 16", "step 2: loss 4"]
    path.write_text(json.dumps(spec | {"epochs": 2}))
    assert_refused(call("trial", str(path)), "epochs: unknown key; allowed are", "config")
    path.write_text(json.dumps(spec | {"task": "hill"}))
    assert_refused(call("trial", str(path), "--in-process"), "task must be an entry point of", "valley", "'hill'")


@pytest.mark.parametrize("mode", ["--isolated", pytest.param("--in-process", marks=pytest.mark.slow)])
def test_an_interrupt_ends_the_trial_and_its_process(tmp_path: Path, mode: str) -> None:
    command = [*GREENSHIFT, "trial", spec_file(tmp_path, epochs=100_000), mode]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stderr is not None
        assert program.stderr.readline().startswith("epoch 1 of")
        children = descendants(program.pid)
        assert len(children) == (mode == "--isolated")
        os.killpg(program.pid, signal.SIGINT)
        assert have_ended([program.pid, *children])
        stdout, stderr = program.communicate()
    assert program.returncode == 130
    assert stderr.splitlines()[-1] == "Interrupted."
    result = TrialResult.model_validate_json(stdout)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.CANCELLED
    assert result.energy is not None


@pytest.mark.slow
@pytest.mark.parametrize(("kill_seconds", "is_impatient"), [(KILL_SECONDS, False), (600, True)])
def test_an_interrupt_ends_a_trial_that_hears_nothing_and_a_second_one_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_seconds: float, is_impatient: bool
) -> None:
    begun = tmp_path / "begun"
    monkeypatch.setenv(BEGUN, str(begun))
    install(tmp_path / "distribution")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "distribution"), *sys.path]))
    main = f"from worker import supervision; supervision.KILL_SECONDS = {kill_seconds}; from service.cli import main"
    command = [
        sys.executable,
        "-c",
        f"{main}; main()",
        "trial",
        spec_file(tmp_path, network="hold-the-lock", shift_depth=0),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as program:
        wait_until(begun.exists)
        children = descendants(program.pid)
        os.killpg(program.pid, signal.SIGINT)
        while is_impatient and not have_ended([program.pid], seconds=1):
            os.killpg(program.pid, signal.SIGINT)
        assert children and have_ended([program.pid, *children])
        stdout, _ = program.communicate()
    # Who waits is told what came of the trial.
    assert bool(stdout) is not is_impatient
    assert program.returncode == 130
