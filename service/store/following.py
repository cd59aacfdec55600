"""Trials as further lines of the log make them, for who reads the log anyway and need not ask for them as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from service.schema import Trial
from service.store.log import Event
from service.store.projection import CHANGING, new_trial, trial_changes
from service.store.reader import to_trial


def trials_after(study_id: str, known: Mapping[str, Trial], events: Iterable[Event]) -> list[Trial]:
    """The trials that some events are about as they are after them, in the order of their last events.

    Args:
        study_id: of the study.
        known: the trials as they were before, by their ids.
        events: the next ones of the log; results in them may have been read already.
    """
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        trial_id = str(event.trial_id)
        if event.kind == "trial_added":
            rows[trial_id] = new_trial(study_id, event)
        elif changes := trial_changes(event):
            rows[trial_id] = (rows.pop(trial_id, None) or _row(known[trial_id])) | changes
    return [to_trial(row) for row in rows.values()]


def _row(trial: Trial) -> dict[str, Any]:
    fields = dict(trial)
    return {"trial": fields} | {name: fields[name] for name in CHANGING}
