"""Routes about the service itself: what it offers, who works for it, and whether it does well."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.context import InContext, problems
from service.errors import ServiceError
from service.names import WORKER_NAME
from service.schema import StudySpec, preset_names
from service.store import Workers, WorkerStatus
from service.wire import Drain, Health, Preset, Problem, Worker, WorkersDocument

router = APIRouter(tags=["operation"])
# For whoever looks after the process, who holds no token.
open_router = APIRouter(tags=["operation"])
metrics_router = APIRouter(tags=["operation"])
# Workers are seen every ten seconds.
_STALE_SECONDS = 30.0

# Dask calls a worker without a name by its address, which has slashes.
Name = Annotated[str, Path(pattern=WORKER_NAME, description="Of the worker.")]
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
    workers = Workers(context.store)
    roster, drained = workers.latest(), workers.drained()
    # A clock that was turned back makes nothing new.
    age = None if roster.seen_at is None else abs((datetime.now(UTC) - roster.seen_at).total_seconds())
    is_current = age is not None and age < _STALE_SECONDS
    found = [_worker(status, drained) for status in roster.workers] if is_current else []
    return WorkersDocument(seen_at=roster.seen_at, age_seconds=age, is_current=is_current, workers=found)


@router.post("/workers/{name:path}/drain", responses=problems(404, 422))
def drain(name: Name, context: InContext) -> Drain:
    """Lets a worker finish what it runs and gives it no new trial, not even when it was started again."""
    return _drained(name, Workers(context.store), True)


@router.post("/workers/{name:path}/undrain", responses=problems(404, 422))
def undrain(name: Name, context: InContext) -> Drain:
    """Gives a drained worker trials again."""
    return _drained(name, Workers(context.store), False)


def _drained(name: str, workers: Workers, is_drained: bool) -> Drain:
    """Drains a worker, or takes it back, if somebody is, or was, called so."""
    known = {worker.name for worker in workers.latest().workers}
    if name not in known | workers.drained():
        raise HTTPException(404, f"name: there is no worker {name!r}")
    (workers.drain if is_drained else workers.undrain)(name)
    return Drain(name=name, is_drained=is_drained)


def _worker(status: WorkerStatus, drained: frozenset[str]) -> Worker:
    state = "active"
    if status.name in drained:
        state = "draining" if status.n_running else "drained"
    return Worker.model_validate(vars(status) | {"set_aside_by": list(status.set_aside_by), "state": state})


@open_router.get("/healthz")
def health() -> Health:
    """Says that the process answers."""
    return Health(status="ok", version=metadata.version("greenshift"))


@open_router.get("/readyz", responses={503: {"model": Problem, "description": "The store cannot be used."}})
def readiness(context: InContext) -> Health:
    """Says that studies can be submitted and read, because the store can be read and written."""
    try:
        context.store.n_studies()
        context.store.database.check_writable()
    except ServiceError as error:
        raise HTTPException(503, " ".join(str(error).split())) from error
    return health()


@metrics_router.get("/metrics", response_class=Response, responses=_TEXT)
def metrics() -> Response:
    """Lists counts and durations for Prometheus, of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
