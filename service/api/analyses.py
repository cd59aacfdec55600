"""Routes about what the trials and the log of a study tell beside its front."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from service.api.context import FoundStudy, FoundTrial, InContext, problems
from service.findings import (
    HistoryDocument,
    ImportanceDocument,
    LayersDocument,
    PaybackDocument,
    RungsDocument,
    TimelineDocument,
)
from worker.schema import Frozen

router = APIRouter(tags=["analyses"], prefix="/studies/{study_id}")


class _TimelineQuery(Frozen):
    last: int | None = Field(None, ge=1, le=100_000, description="Only so many attempts, the newest; default all.")


@router.get("/history", responses=problems(404, 422))
def show_history(study: FoundStudy, context: InContext) -> HistoryDocument:
    """Shows how the front grew over trials, seconds and joules, from one reference point."""
    return context.digests.history(study, datetime.now(UTC))


@router.get("/timeline", response_model=TimelineDocument, responses=problems(404, 422))
def show_timeline(study: FoundStudy, context: InContext, query: Annotated[_TimelineQuery, Query()]) -> Response:
    """Shows each attempt with its worker and times, and how long workers that had begun stood idle in between."""
    return Response(context.digests.timeline(study, query.last), media_type="application/json")


@router.get("/rungs", responses=problems(404, 422))
def show_rungs(study: FoundStudy, context: InContext) -> RungsDocument:
    """Shows the trials at each fidelity, and how well a lower one ranks configs as a higher one does."""
    return context.digests.rungs(study)


@router.get("/importance", responses=problems(404, 422))
def show_importance(study: FoundStudy, context: InContext) -> ImportanceDocument:
    """Shows which hyperparameters each objective depends on, and how far a model that says so can be trusted."""
    return context.digests.importance(study)


@router.get("/payback", responses=problems(404, 422))
def show_payback(study: FoundStudy, context: InContext) -> PaybackDocument:
    """Shows what the study has spent, and after how many inferences each network of its front has saved as much."""
    return context.digests.payback(study)


@router.get("/trials/{trial_id}/layers", responses=problems(404, 422))
def show_layers(trial: FoundTrial) -> LayersDocument:
    """Shows the layers of the network that a trial has trained: zeros, and how often each power of two is there."""
    return LayersDocument(layers=list(trial.result.layers) if trial.result else [])
