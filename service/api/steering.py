"""Routes that ask something of a study: they write it down, and the study's coordinator does it within a second."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, HTTPException

from service.api.context import FoundStudy, FoundTrial, InContext, problems
from service.api.going_on import refusal
from service.budget import Spent
from service.schema import Study, StudyState, Trial, TrialState
from service.wire import Asked, RequestKind

router = APIRouter(tags=["steering"], prefix="/studies/{study_id}")
_ENDED = (StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED)


@router.post("/pause", status_code=202, responses=problems(404, 409, 422))
def pause(study: FoundStudy, context: InContext) -> Asked:
    """Pauses a study: it gives all its slots back, and what ran goes on later."""
    return _ask_active(context, study, "pause")


@router.post("/resume", status_code=202, responses=problems(404, 409, 422))
def resume(study: FoundStudy, context: InContext) -> Asked:
    """Makes a study go on that was paused, was stopped or has failed.

    One that is done, or has spent its budget, cannot.
    """
    return _ask_and_restart(context, study, "resume")


@router.post("/stop", status_code=202, responses=problems(404, 409, 422))
def stop(study: FoundStudy, context: InContext) -> Asked:
    """Stops a study: what runs is cancelled, and what has finished is kept."""
    return _ask_active(context, study, "stop")


@router.post("/trials/{trial_id}/retry", status_code=202, responses=problems(404, 409, 422))
def retry(trial: FoundTrial, study: FoundStudy, context: InContext) -> Asked:
    """Tries a trial again that has failed or was stopped.

    A study that has ended goes on for it, unless its budget is spent.
    """
    _refuse_others(trial, TrialState.FAILED, TrialState.STOPPED)
    return _ask_and_restart(context, study, "retry", trial.trial_id)


@router.post("/trials/{trial_id}/cancel", status_code=202, responses=problems(404, 409, 422))
def cancel(trial: FoundTrial, study: FoundStudy, context: InContext) -> Asked:
    """Gives up a trial that waits or runs."""
    _refuse_others(trial, TrialState.WAITING, TrialState.RUNNING)
    return _ask_active(context, study, "cancel", trial.trial_id)


def _refuse_others(trial: Trial, *states: TrialState) -> None:
    if trial.state not in states:
        raise HTTPException(409, f"trial {trial.trial_id} must be {' or '.join(states)}, it is {trial.state}")


def _ask_active(context: InContext, study: Study, kind: RequestKind, trial_id: str | None = None) -> Asked:
    if study.state in _ENDED:
        raise HTTPException(409, f"study {study.study_id} must not have ended, it is {study.state}")
    return _ask(context, study, kind, trial_id)


def _ask_and_restart(
    context: InContext, study: Study, kind: Literal["resume", "retry"], trial_id: str | None = None
) -> Asked:
    """Asks it, and lets a study that has ended wait for a coordinator, which will do it."""
    store = context.store
    if study.state in _ENDED:
        n_trials, spent = store.n_trials(study.study_id), Spent.from_events(store.events(study.study_id))
        if why := refusal(study, kind, n_trials, spent):
            raise HTTPException(409, why)
    with context.restarting:
        if store.study(study.study_id).state in _ENDED:
            _drop_unanswered(context, study)
        asked = _ask(context, study, kind, trial_id)
        if store.study(study.study_id).state in _ENDED:
            store.set_study_state(study.study_id, StudyState.WAITING, f"{kind} was asked for")
    return asked


def _drop_unanswered(context: InContext, study: Study) -> None:
    """What came too late for the coordinator that has ended must not stop the next one."""
    store = context.store
    late = store.requests(study.study_id, store.answered(study.study_id))
    if late:
        store.answer(late[-1], "the study had ended")


def _ask(context: InContext, study: Study, kind: RequestKind, trial_id: str | None) -> Asked:
    request = context.store.request(study.study_id, kind, trial_id)
    return Asked(study_id=request.study_id, seq=request.seq, kind=request.kind, trial_id=request.trial_id)
