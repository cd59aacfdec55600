"""Whether a study that has ended can go on, and what would help where it cannot."""

from __future__ import annotations

from typing import Literal

from service.budget import Spent
from service.schema import Study, StudyState


def refusal(study: Study, kind: Literal["resume", "retry"], n_trials: dict[str, int], spent: Spent) -> str | None:
    """Why `kind` would change nothing and what would, in one line; None where it helps.

    Args:
        study: has ended.
        kind: what is asked for.
        n_trials: by state.
        spent: by the study so far.
    """
    why = _why(study, kind, n_trials, spent)
    if why is None:
        return None
    can_retry = kind == "resume" and not spent.overruns(study.spec.budget) and n_trials["failed"] + n_trials["stopped"]
    again = "submit another with a larger budget"
    if n_trials["completed"]:
        again += f" (`warm_start: {study.study_id}` begins with the front of this one)"
    helps = f"retry a trial that failed or was stopped, or {again}" if can_retry else again
    return f"study {study.study_id} is {study.state} and {kind} would change nothing, because {why}: {helps}"


def _why(study: Study, kind: str, n_trials: dict[str, int], spent: Spent) -> str | None:
    if spent.overruns(study.spec.budget):
        return "its budget is spent"
    if kind == "retry" or n_trials["waiting"] or n_trials["running"]:
        return None
    if study.state is StudyState.COMPLETED:
        return study.reason or "it has done all that it was to do"
    return "its budget is spent" if spent.reaches(study.spec.budget) else None
