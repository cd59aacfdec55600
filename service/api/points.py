"""The route that gives all trials of a study in columns, for plots of thousands of them; asked again, what is new."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from service.api.columns import COLUMNS, Point
from service.api.context import FoundStudy, InContext, problems
from service.wire import Figures, Origin, PointsDocument, Seq
from worker.schema import Frozen

router = APIRouter(tags=["trials"])


class _PointsQuery(Frozen):
    after: Seq = Field(0, description="`seq` of the document before.")
    limit: int = Field(10_000, ge=1, le=100_000)


@router.get("/studies/{study_id}/points", response_model=PointsDocument, responses=problems(404, 422))
def list_points(
    study: FoundStudy, context: InContext, request: Request, query: Annotated[_PointsQuery, Query()]
) -> Response:
    """Lists what plots need of trials with an event after number `after`, in columns, and at their end the front."""
    points = context.digests.points(study, query.after, query.limit + 1)
    page = points[: query.limit]
    is_whole = len(points) <= query.limit
    document = PointsDocument(
        seq=page[-1].seq if page else query.after,
        is_whole=is_whole,
        front=[trial.trial_id for trial in context.digests.front(study)] if is_whole else None,
        **{name: [point.columns[name] for point in page] for name in COLUMNS},
        origins=(origins := list({figure[3]: None for point in page for figure in point.figures.values()})),
        figures=_figures(page, origins),
        config={name: [point.config.get(name) for point in page] for name in _names(point.config for point in page)},
    )
    return _compressed(document.model_dump_json().encode(), request)


def _figures(page: Sequence[Point], origins: list[Origin]) -> dict[str, Figures]:
    place = {origin: number for number, origin in enumerate(origins)}
    unknown = (None, None, None, None)
    found = {}
    for name in _names(point.figures for point in page):
        rows = [point.figures.get(name, unknown) for point in page]
        value, deviations, uncertainties, kinds = (list(column) for column in zip(*rows, strict=True))
        found[name] = Figures(
            value=value,
            deviation=deviations,
            uncertainty=uncertainties,
            origin=[None if kind is None else place[kind] for kind in kinds],
        )
    return found


def _names(tables: Iterator[dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they were met."""
    return list(dict.fromkeys(itertools.chain.from_iterable(tables)))


def _compressed(content: bytes, request: Request) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers = gzip.compress(content, compresslevel=1), headers | {"Content-Encoding": "gzip"}
    return Response(content, media_type="application/json", headers=headers)
