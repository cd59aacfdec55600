"""The application: routes, who is let in, and how errors become answers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import analyses, events, operation, points, steering, studies, trials
from service.api.context import Context, problems
from service.api.digests import Digests
from service.api.leaving import LetReadersLeave
from service.api.paged import PagesOf
from service.api.rates import Rates
from service.api.security import admit
from service.dashboard import dashboard_router
from service.errors import ServiceError
from service.faults import describe
from service.schema import StudySpec
from service.store import Store, Tokens
from service.wire import API

MAX_BODY_BYTES = 1_000_000
_TOO_LARGE = f"body: must have at most {MAX_BODY_BYTES} bytes"
_MAX_LINE = 300
_MIN_COMPRESSED = 2000


def create_app(
    store: Store,
    *,
    require_token: bool,
    requests_per_second: float | None = 50.0,
    is_stopping: Callable[[], bool] = lambda: False,
    report: str = "",
) -> FastAPI:
    """The HTTP API over a store, and the pages of the dashboard.

    Args:
        store: of the studies; a patience of few seconds lets requests fail soon while the database is busy or lost.
        require_token: everybody must show a token; else only programs on this machine are let in, whose requests name
            it by a loopback name.
        requests_per_second: of each caller, who may make ten seconds' worth at once; None is no limit.
        is_stopping: tells that the server is about to end, so that streams of events end as well.
        report: where that of the one study will lie that the pages are for, for people; empty for a service.
    """
    app = FastAPI(
        title="greenshift",
        summary="Finds deep shift neural networks that are accurate and frugal at once.",
        version=metadata.version("greenshift"),
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    rates = None if requests_per_second is None else Rates(requests_per_second, max(1, round(10 * requests_per_second)))
    app.add_middleware(_RefuseLargeBodies)
    app.add_middleware(LetReadersLeave)
    # Streams of events are left as they are, and what is large is compressed on a thread.
    app.add_middleware(GZipMiddleware, minimum_size=_MIN_COMPRESSED, compresslevel=1)
    app.state.context = Context(store, Tokens(store), Digests(store), require_token, rates, is_stopping)
    _add_routes(app)
    app.include_router(dashboard_router(report, is_there=PagesOf(store, tells_all=not require_token)))
    app.add_exception_handler(RequestValidationError, _not_allowed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(ServiceError, _unusable)
    return app


def _add_routes(app: FastAPI) -> None:
    guarded = APIRouter(dependencies=[Depends(admit)], responses=problems(401, 403, 429, 503))
    for module in (studies, points, trials, analyses, steering, events, operation):
        guarded.include_router(module.router, prefix=API)
    guarded.include_router(operation.metrics_router)
    app.include_router(guarded)
    app.include_router(operation.open_router)


class _RefuseLargeBodies:
    """Refuses bodies that say that they are too large, and stops reading those that turn out to be.

    FastAPI's own limit answers in plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        n_left = MAX_BODY_BYTES

        async def limited() -> Message:
            nonlocal n_left
            message = await receive()
            n_left -= len(message.get("body", b""))
            if n_left < 0:
                raise HTTPException(413, _TOO_LARGE)
            return message

        if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            await _answer(413, _TOO_LARGE)(scope, receive, send)
        else:
            await self._app(scope, limited, send)


def _not_allowed(_request: Request, error: Exception) -> JSONResponse:
    """What pydantic found, in the words of the command line: a line a fault."""
    assert isinstance(error, RequestValidationError)
    return _answer(422, describe((_named_by_key(fault) for fault in error.errors()), StudySpec))


def _named_by_key(fault: dict[str, Any]) -> dict[str, Any]:
    """A fault without the part of the request that it is in, as far as its key says enough."""
    if fault["type"] == "json_invalid":
        return {"type": "value_error", "loc": ("body",), "msg": f"must be JSON: {fault['ctx']['error']}"}
    if fault["type"] == "extra_forbidden" and fault["loc"][0] == "query":
        return {"type": "value_error", "loc": fault["loc"][1:], "msg": "no such parameter"}
    of_the_study = fault["type"] == "value_error"
    return fault | {"loc": fault["loc"][1:] or (() if of_the_study else fault["loc"])}


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, error.detail, error.headers)


def _unusable(_request: Request, error: Exception) -> JSONResponse:
    return _answer(503, str(error), {"Retry-After": "5"})


def _answer(status: int, detail: str, headers: Any = None) -> JSONResponse:
    lines = [" ".join(line.split()) for line in detail.splitlines()]
    short = [line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 4]} ..." for line in lines]
    return JSONResponse({"detail": "\n".join(short)}, status, headers)
