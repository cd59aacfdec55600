"""What every route needs: the store, what follows from it, and the study that a path names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, HTTPException, Path, Request

from service.api.digests import Digests
from service.api.rates import Rates
from service.names import STUDY_ID
from service.schema import Study, Trial
from service.store import Store, Tokens
from service.wire import Problem

_WHY = {
    400: "the body is no JSON",
    401: "no valid token",
    403: "asked from another site",
    404: "there is no such study, trial or worker",
    409: "the study or trial is in a state in which this cannot be",
    413: "the body is too large",
    422: "a key or value that is not allowed",
    429: "too many requests; `Retry-After` says when to come again",
    503: "the store cannot be used at the moment",
}


@dataclass(frozen=True)
class Context:
    """What one application shares among its requests.

    Attributes:
        rates: None is no limit.
        is_stopping: tells that streams must end, so that the server can.
        restarting: held while somebody makes an ended study go on.
    """

    store: Store
    tokens: Tokens
    digests: Digests
    require_token: bool
    rates: Rates | None
    is_stopping: Callable[[], bool]
    restarting: threading.Lock = field(default_factory=threading.Lock)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How routes document what else they answer: JSON, also where they answer something else if all is well.

    A `model` would be documented in the route's own media type; the one of `/readyz` brings `Problem` in.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {status: {"content": content, "description": _WHY[status]} for status in statuses}


def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


InContext = Annotated[Context, Depends(_context)]
StudyId = Annotated[str, Path(pattern=STUDY_ID, description="Of the study.")]
TrialId = Annotated[str, Path(pattern=STUDY_ID, description="Of the trial, such as `00001` or `default`.")]


def _study(study_id: StudyId, context: InContext) -> Study:
    try:
        return context.store.study(study_id)
    except KeyError:
        raise HTTPException(404, f"study_id: there is no study {study_id!r}") from None


FoundStudy = Annotated[Study, Depends(_study)]


def _trial(trial_id: TrialId, study: FoundStudy, context: InContext) -> Trial:
    try:
        return context.store.trial(study.study_id, trial_id)
    except KeyError:
        raise HTTPException(404, f"trial_id: study {study.study_id} has no trial {trial_id!r}") from None


FoundTrial = Annotated[Trial, Depends(_trial)]
