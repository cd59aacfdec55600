"""Routes about the service itself: what it offers, who works for it, and whether it does well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.context import InContext
from service.errors import ServiceError
from service.schema import StudySpec, preset_names
from service.store import Workers
from service.wire import Health, Preset, Problem, Worker, WorkersDocument

router = APIRouter(tags=["operation"])
# For whoever looks after the process, who holds no token.
open_router = APIRouter(tags=["operation"])
metrics_router = APIRouter(tags=["operation"])
# Workers are seen every ten seconds.
_STALE = timedelta(seconds=30)

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "In the form of Prometheus."}
}


@router.get("/presets")
def list_presets() -> list[Preset]:
    """Lists the studies that come with the service; the spec of each can be submitted."""
    return [Preset(name=name, spec=StudySpec.load(name)) for name in preset_names()]


@router.get("/workers")
def list_workers(context: InContext) -> WorkersDocument:
    """Lists the workers of the cluster."""
    roster = Workers(context.store).latest()
    is_current = roster.seen_at is not None and datetime.now(UTC) - roster.seen_at < _STALE
    found = [Worker.model_validate(vars(w) | {"set_aside_by": list(w.set_aside_by)}) for w in roster.workers]
    return WorkersDocument(seen_at=roster.seen_at, is_current=is_current, workers=found if is_current else [])


@open_router.get("/healthz")
def health() -> Health:
    """Says that the process answers."""
    return Health(status="ok", version=metadata.version("greenshift"))


@open_router.get("/readyz", responses={503: {"model": Problem, "description": "The store cannot be used."}})
def readiness(context: InContext) -> Health:
    """Says that studies can be submitted and read, because the store can be used."""
    try:
        context.store.n_studies()
    except ServiceError as error:
        raise HTTPException(503, " ".join(str(error).split())) from error
    return health()


@metrics_router.get("/metrics", response_class=Response, responses=_TEXT)
def metrics() -> Response:
    """Lists counts and durations for Prometheus, of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
