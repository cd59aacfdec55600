"""A study of a service, in the form in which studies are shown and reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from service.client import StudyHandle
from service.ledger import AMOUNTS, Entry, Ledger
from service.schema import Study, Trial
from service.scores import Finals
from service.study_run import StudyRun
from service.wire import Event, Spending
from worker.schema import TrialResult


def run_of(handle: StudyHandle) -> StudyRun:
    """The study as it stands, with all its trials in the order in which they were added."""
    study = handle.document()
    known = Study.model_validate({name: getattr(study, name) for name in Study.model_fields})
    return StudyRun(known, sorted(handle.trials(), key=_place))


def whole_of(handle: StudyHandle, log: Iterable[Event] | None = None) -> StudyRun:
    """The study with what it has spent and, where its front was judged by the test split, what came of that.

    Args:
        handle: of the study.
        log: all its events; None reads them where they are needed.
    """
    ledger = ledger_of(handle)
    is_judged = any(entry.cause == "final" for entry in ledger.entries)
    events = handle.iter_events() if log is None and is_judged else log or ()
    return replace(run_of(handle), ledger=ledger, finals=_finals(events))


def ledger_of(handle: StudyHandle) -> Ledger:
    """All that the study has spent; what is unknown counts as nothing in the sums of a ledger."""
    return Ledger([_entry(spending) for spending in handle.ledger().entries])


def _entry(spending: Spending) -> Entry:
    values: dict[str, Any] = spending.model_dump()
    return Entry(**values | {name: values[name] or 0.0 for name in AMOUNTS})


def _finals(events: Iterable[Event]) -> Finals:
    """Of a trial and seed that was trained twice, the last result."""
    return {
        (event.trial_id, event.payload["seed"]): TrialResult.model_validate(event.payload["result"])
        for event in events
        if event.kind == "final_result" and event.trial_id is not None
    }


def _place(trial: Trial) -> tuple[bool, int, str]:
    """Baselines are added first, and the others are numbered."""
    return not trial.is_default, len(trial.trial_id), trial.trial_id
