from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from service.cli.live import LiveView
from service.schema import Study, StudySpec, StudyState, Trial, TrialState
from service.study_run import StudyRun
from tests.service.fakes import failed, full_trial, study_spec, trial
from worker.schema import Failure, FailureKind


def running(trial_id: str) -> Trial:
    return trial(trial_id).model_copy(
        update={"state": TrialState.RUNNING, "attempt": 1, "epochs": 9, "shift_depth": 10}
    )


def run_of(spec: StudySpec, trials: list[Trial], **epochs: int) -> StudyRun:
    study = Study(study_id="s", spec=spec, state=StudyState.RUNNING, created_at=datetime(2026, 1, 2, tzinfo=UTC))
    return StudyRun(study, trials, epochs=epochs)


def shown(run: StudyRun, *, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
    with LiveView(run.study.spec, console) as view:
        view.show(run)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_how_far_running_trials_are() -> None:
    trials = [full_trial("a1", 0.1, 3.0), *map(running, ("a2", "a3", "a4", "a5", "a6"))]
    said = shown(run_of(study_spec(n_seeds=2), trials, a2=5), is_terminal=True)
    assert "trial a2 (depth 10, epochs 9): 5 of 18 epochs done" in said
    assert "trial a3 (depth 10, epochs 9)\x1b" in said
    assert "and 1 more" in said
    assert "trial a6" not in said


def test_what_went_wrong_is_no_markup() -> None:
    result = failed("a1").model_copy(update={"failure": Failure(kind=FailureKind.CRASHED, message="[Errno 28] :cat:")})
    lost = trial("a1").model_copy(update={"state": TrialState.FAILED, "result": result})
    assert "crashed: [Errno 28] :cat:\n" in shown(run_of(study_spec(), [lost]), is_terminal=False)


def test_elsewhere_a_trial_is_a_line_once_it_has_ended() -> None:
    said = shown(run_of(study_spec(), [full_trial("a1", 0.1, 3.0), running("a2")], a2=5), is_terminal=False)
    assert said.count("trial a1 COMPLETED") == 1
    assert "a2" not in said
