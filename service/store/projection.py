"""What each line of the log means for the rows of studies and trials; the log alone suffices to make them anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from service.schema import StudyState, TrialState
from service.store.log import Event

Row = dict[str, Any]
# Columns of their own; everything else of a trial never changes and lies in one object.
CHANGING = {"state", "attempt", "seq", "result"}
_STUDY_STATES = {f"study_{state.lower()}": state for state in StudyState}


@dataclass
class Rows:
    """The row of a study, and those of its trials in the order in which they were added."""

    study: Row = field(default_factory=dict)
    trials: dict[str, Row] = field(default_factory=dict)


def replay(study_id: str, events: Iterable[Event]) -> Rows:
    """The rows of a study as its whole log makes them."""
    rows = Rows()
    for event in events:
        if event.kind == "study_created":
            rows.study = new_study(study_id, event)
        elif event.kind == "trial_added":
            trial = new_trial(study_id, event)
            rows.trials[trial["trial_id"]] = trial
        else:
            rows.study |= study_changes(event, rows.study)
            if changes := trial_changes(event):
                rows.trials[str(event.trial_id)] |= changes
    return rows


def new_study(study_id: str, event: Event) -> Row:
    """The row of a study that `event` created."""
    spec = event.payload["spec"]
    return {
        "study_id": study_id,
        "name": spec["name"],
        "state": StudyState.WAITING,
        "created_at": event.at,
        "spec": spec,
    }


def new_trial(study_id: str, event: Event) -> Row:
    """The row of a trial that `event` added."""
    return {
        "study_id": study_id,
        "trial_id": event.trial_id,
        "state": TrialState.WAITING,
        "attempt": 0,
        "added": event.seq,
        "seq": event.seq,
        "trial": event.payload,
        "result": None,
    }


def study_changes(event: Event, study: Row) -> Row:
    """The columns of `study` that an event changes."""
    if event.kind in _STUDY_STATES:
        return {"state": _STUDY_STATES[event.kind]}
    if event.kind in ("budget_changed", "spec_changed"):
        return {"spec": study["spec"] | event.payload}
    return {}


def trial_changes(event: Event) -> Row:
    """The columns of its trial that an event changes; none by a late result, and by what is not about its state."""
    payload = event.payload
    changes: dict[str, Row] = {
        "attempt_started": {"state": TrialState.RUNNING, "attempt": payload.get("attempt")},
        "attempt_finished": {"state": payload.get("state"), "result": payload.get("result")},
        "attempt_abandoned": {"state": TrialState.WAITING},
        "trial_stopped": {"state": TrialState.STOPPED},
        "trial_retried": {"state": TrialState.WAITING},
    }
    return changes[event.kind] | {"seq": event.seq} if event.kind in changes else {}
