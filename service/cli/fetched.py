"""A study of a service, in the form in which studies are shown and reported."""

from __future__ import annotations

from typing import Any

from service.client import StudyHandle
from service.ledger import AMOUNTS, Entry, Ledger
from service.schema import Study, Trial
from service.study_run import StudyRun
from service.wire import Spending


def run_of(handle: StudyHandle) -> StudyRun:
    """The study as it stands, with all its trials in the order in which they were added."""
    study = handle.document()
    known = Study.model_validate({name: getattr(study, name) for name in Study.model_fields})
    return StudyRun(known, sorted(handle.trials(), key=_place))


def ledger_of(handle: StudyHandle) -> Ledger:
    """All that the study has spent; what is unknown counts as nothing in the sums of a ledger."""
    return Ledger([_entry(spending) for spending in handle.ledger().entries])


def _entry(spending: Spending) -> Entry:
    values: dict[str, Any] = spending.model_dump()
    return Entry(**values | {name: values[name] or 0.0 for name in AMOUNTS})


def _place(trial: Trial) -> tuple[bool, int, str]:
    """Baselines are added first, and the others are numbered."""
    return not trial.is_default, len(trial.trial_id), trial.trial_id
