from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.outputs import Outputs
from service.schema import Study, StudySpec, StudyState
from tests.service.fakes import full_trial, study_spec, trial

FIDELITY = {"min_fidelity": 1, "max_fidelity": 10, "together": {"epochs": [1, 9]}}


def study(**changes: Any) -> Study:
    spec = study_spec(**changes)
    return Study(study_id="s", spec=spec, state=StudyState.RUNNING, created_at=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_promoted_trial_is_told_where_the_one_below_left_its_checkpoint() -> None:
    outputs = Outputs(study(fidelity=FIDELITY, continue_promoted=True), "/models", "/ck")
    low, high = trial("low", is_full=False, attempt=1), trial("high", promoted_from="low", attempt=1)
    places = [(s.resume_from, s.checkpoint_to, s.model_path) for s in (outputs.spec(low), outputs.spec(high))]
    assert places == [(None, "/ck/s/low.pt", None), ("/ck/s/low.pt", None, "/models/high.safetensors")]


def test_a_study_that_does_not_continue_leaves_no_checkpoints_but_of_trials_that_are_told_to_end() -> None:
    promoted = trial("high", promoted_from="low", is_full=False, attempt=1)
    spec = Outputs(study(), None, "/ck").spec(promoted)
    assert (spec.resume_from, spec.checkpoint_to, spec.model_path) == (None, None, None)
    assert (spec.rescue_to, spec.rescued) == ("/ck/s/high.rescued", None)
    assert Outputs(study(), None, None).spec(promoted).rescue_to is None


def test_a_task_of_the_users_own_is_not_asked_to_leave_anything() -> None:
    of_task = trial("1", shift_depth=None, epochs=None, attempt=1)
    spec = StudySpec.load({"name": "own", "task": "valley", "budget": {"n_trials": 1}})
    assert Outputs(study().model_copy(update={"spec": spec}), None, "/ck").spec(of_task).rescue_to is None


def test_a_study_of_which_no_trial_was_given_back_asks_no_store_for_checkpoints(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outputs = Outputs(study(), None, "nowhere://checkpoints")
    outputs.clean_up(StudyState.COMPLETED, [full_trial("1", 0.1, 1.0, attempt=1)])
    assert caplog.text == ""
    outputs.clean_up(StudyState.COMPLETED, [full_trial("1", 0.1, 1.0, attempt=2)])
    assert "the checkpoints at nowhere://checkpoints/s were not deleted" in caplog.text


@pytest.mark.parametrize("state", [StudyState.COMPLETED, StudyState.STOPPED])
def test_checkpoints_are_deleted_when_nobody_goes_on_from_them(tmp_path: Path, state: StudyState) -> None:
    checkpoint, model = tmp_path / "ck/s/1.pt", tmp_path / "models/1.safetensors"
    for path in (checkpoint, model):
        path.parent.mkdir(parents=True)
        path.touch()
    continued = study(fidelity=FIDELITY, continue_promoted=True, keep_models="none")
    Outputs(continued, str(model.parent), str(tmp_path / "ck")).clean_up(state, [full_trial("1", 0.1, 1.0)])
    assert (checkpoint.exists(), model.exists()) == (state is StudyState.STOPPED, False)
