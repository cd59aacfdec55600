"""Routes about the trials of a study."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from service.api.context import FoundStudy, FoundTrial, InContext, problems
from service.api.light import without_layers
from service.schema import Trial, TrialState
from service.wire import EpochPoint, Seq, TrialsPage
from worker.schema import Frozen

router = APIRouter(tags=["trials"], prefix="/studies/{study_id}/trials")


class _TrialsQuery(Frozen):
    after: Seq = Field(0, description="`seq` of the last trial that is known already.")
    limit: int = Field(100, ge=1, le=1000)
    state: TrialState | None = None


@router.get("", responses=problems(404, 422))
def list_trials(study: FoundStudy, context: InContext, query: Annotated[_TrialsQuery, Query()]) -> TrialsPage:
    """Lists trials with an event after number `after`, as they are now, in the order of their last events.

    So one route serves both: all trials, page by page, and those that are new or have changed. A trial that
    changes in the meantime comes again. The layers of their results are left out.
    """
    limit = query.limit
    found = context.store.trials_changed(study.study_id, query.after, limit + 1, state=query.state)
    return TrialsPage(
        items=[without_layers(trial) for trial in found[:limit]],
        next=found[limit - 1].seq if len(found) > limit else None,
    )


@router.get("/{trial_id}", responses=problems(404, 422))
def show_trial(trial: FoundTrial) -> Trial:
    """Shows a trial."""
    return trial


@router.get("/{trial_id}/epochs", responses=problems(404, 422))
def list_epochs(trial: FoundTrial, context: InContext) -> list[EpochPoint]:
    """Lists what each epoch of a trial came to, by attempt and epoch, while it goes on as well."""
    return [
        EpochPoint.model_validate(epoch.model_dump(include=set(EpochPoint.model_fields)))
        for epoch in context.store.epochs(trial.study_id, trial.trial_id)
    ]
