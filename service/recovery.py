"""What a coordinator must know of its study, from the log alone: a restart is the same code as a start."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from service.optimizer import Suggestion, Told
from service.proposals import suggestion_of, told_of
from service.schema import StudySpec, Trial, TrialState
from service.store import Event
from worker.schema import FailureKind


def optimizer_log(events: Iterable[Event], trials: dict[str, Trial], spec: StudySpec) -> list[Suggestion | Told]:
    """All that the optimizer was asked and told, in order; trials of `trials` that it did not propose are left out."""
    log: list[Suggestion | Told] = []
    for event in events:
        trial = trials.get(event.trial_id or "")
        if trial is None or trial.is_default:
            continue
        if event.kind == "trial_added":
            log.append(suggestion_of(trial))
        elif event.kind == "trial_told":
            log.append(_told(event, trial, spec))
    return log


def untold(told: Collection[str], trials: Iterable[Trial], spec: StudySpec) -> list[Told]:
    """What the optimizer has still to learn of trials that are finished, beside those in `told`."""
    return [
        told_of_trial(trial, spec)
        for trial in trials
        if trial.state.is_finished and not trial.is_default and trial.trial_id not in told
    ]


def told_of_trial(trial: Trial, spec: StudySpec) -> Told:
    """What the optimizer learns of a finished trial; one that was stopped before it began was cancelled."""
    if trial.result is None or trial.state is TrialState.STOPPED:
        return Told(trial.trial_id, None, FailureKind.CANCELLED)
    return told_of(trial.result, spec)


def _told(event: Event, trial: Trial, spec: StudySpec) -> Told:
    """What was told then; a trial that was tried again later may say something else by now."""
    if "failure" in event.payload:
        return Told(trial.trial_id, *(event.payload.get(key) for key in ("objectives", "failure", "cost")))
    return told_of_trial(trial, spec)
