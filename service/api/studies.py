"""Routes about studies as a whole: submitting them, and how they stand."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Response
from pydantic import Field

from service.api.context import Context, FoundStudy, InContext, problems
from service.api.security import Caller
from service.api.submission import Submission
from service.errors import ConflictError, InputError
from service.ledger import AMOUNTS, Entry
from service.names import STUDY_ID, WITHOUT_NUL
from service.schema import Study, StudySpec, StudyState, Trial
from service.space import check_space
from service.wire import (
    API,
    LedgerDocument,
    NTrials,
    Spending,
    StudiesPage,
    StudyDocument,
    StudyStatus,
    StudySummary,
)
from worker.schema import Frozen

router = APIRouter(tags=["studies"])


class _StudiesQuery(Frozen):
    state: StudyState | None = None
    name: str | None = Field(None, max_length=100, pattern=WITHOUT_NUL)
    after: str | None = Field(None, pattern=STUDY_ID, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@router.post("/studies", status_code=201, responses=problems(400, 413, 422))
def submit(
    study: Submission,
    context: InContext,
    caller: Caller,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=255, description="The same key and study, sent again, are the same study and not another."),
    ] = None,
) -> StudyDocument:
    """Submits a study: the keys of its YAML file as a JSON object. It starts as soon as there are workers."""
    _find_earlier(study, context)
    _check_space(study)
    study_id = None
    if idempotency_key is not None:
        study_id = hashlib.sha256(f"{caller}\n{idempotency_key}".encode()).hexdigest()[:12]
    try:
        created = context.store.create_study(study, study_id)
    except ConflictError:
        raise HTTPException(422, "Idempotency-Key: must be new, because another study was sent with it") from None
    response.headers["Location"] = f"{API}/studies/{created.study_id}"
    return _document(created, context)


@router.get("/studies", responses=problems(404, 422))
def list_studies(context: InContext, query: Annotated[_StudiesQuery, Query()]) -> StudiesPage:
    """Lists studies, the newest first."""
    limit = query.limit
    try:
        found = context.store.studies_page(query.state, name=query.name, after=query.after, limit=limit + 1)
    except KeyError:
        raise HTTPException(404, f"after: there is no study {query.after!r}") from None
    page = found[:limit]
    counts = context.store.n_trials_of_all([study.study_id for study in page])
    items = [_summary(study, counts.get(study.study_id)) for study in page]
    return StudiesPage(items=items, next=page[-1].study_id if len(found) > limit else None)


@router.get("/studies/{study_id}", responses=problems(404, 422))
def show_study(study: FoundStudy, context: InContext) -> StudyDocument:
    """Shows a study with its spec."""
    return _document(study, context)


@router.get("/studies/{study_id}/status", responses=problems(404, 422))
def show_status(study: FoundStudy, context: InContext) -> StudyStatus:
    """Says how far a study is, how good its front, and how much energy it has spent."""
    volume, ledger = context.digests.volume(study), context.digests.ledger(study)
    return StudyStatus(
        study_id=study.study_id,
        state=study.state,
        n_trials=NTrials.model_validate(context.store.n_trials(study.study_id)),
        hypervolume=None if volume is None else volume.hypervolume,
        reference_point=None if volume is None else volume.reference_point,
        energy_joules=_joules(ledger.entries),
        energy_joules_by_quality=ledger.by_quality(),
        reason=study.reason,
    )


@router.get("/studies/{study_id}/front", responses=problems(404, 422))
def show_front(study: FoundStudy, context: InContext) -> list[Trial]:
    """Lists the trials at full fidelity that no other dominates, by the first objective."""
    return context.digests.front(study)


@router.get("/studies/{study_id}/ledger", responses=problems(404, 422))
def show_ledger(study: FoundStudy, context: InContext) -> LedgerDocument:
    """Lists all energy that a study has spent, by cause and by worker: failed attempts are no exception."""
    entries = context.digests.ledger(study).entries
    return LedgerDocument(joules=_joules(entries), entries=[_spending(entry) for entry in entries])


def _check_space(study: StudySpec) -> None:
    """Refuses a space, a range or a config that no network could have."""
    try:
        check_space(study)
    except InputError as error:
        raise HTTPException(422, str(error)) from error


def _find_earlier(study: StudySpec, context: Context) -> None:
    """Refuses a study that is to begin with what no study of this service has found."""
    if study.warm_start is None:
        return
    try:
        earlier = context.store.study(study.warm_start)
    except KeyError:
        named = context.store.studies_page(name=study.warm_start, limit=3)
        ids = ", ".join(found.study_id for found in named)
        hint = f"; the id of the study of this name is {ids}" if named else ", and none of this name"
        raise HTTPException(422, f"warm_start: there is no study with the id {study.warm_start!r}{hint}") from None
    if not context.digests.front(earlier):
        raise HTTPException(422, f"warm_start: study {study.warm_start} has no front yet")


def _document(study: Study, context: InContext) -> StudyDocument:
    counts = context.store.n_trials(study.study_id)
    return StudyDocument(**dict(_summary(study, counts)), spec=study.spec, reason=study.reason)


def _summary(study: Study, counts: dict[str, int] | None) -> StudySummary:
    return StudySummary(
        study_id=study.study_id,
        name=study.spec.name,
        state=study.state,
        created_at=study.created_at,
        n_trials=NTrials.model_validate(counts or dict.fromkeys(NTrials.model_fields, 0)),
    )


def _joules(entries: list[Entry]) -> float | None:
    """All that is known; None, and not zero, where nothing is."""
    known = [entry.joules for entry in entries if entry.is_known]
    return sum(known) if known else None


def _spending(entry: Entry) -> Spending:
    known = {name: getattr(entry, name) if entry.is_known else None for name in AMOUNTS}
    others = {name: getattr(entry, name) for name in Spending.model_fields if name not in AMOUNTS}
    return Spending.model_validate(known | others)
