"""The log of a study as server-sent events: what is there, and then what comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from service.api.context import Context, FoundStudy, InContext, problems
from service.schema import StudyState
from service.store import Event
from service.wire import End, Seq, without_places
from service.wire import Event as EventDocument
from worker.schema import Frozen

router = APIRouter(tags=["events"])
_ENDED = (StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED)
# How often to look for new events: no thread and no connection to the store is held in between.
_POLL_SECONDS = 0.5
_BATCH = 200


class _EventsQuery(Frozen):
    after: Seq = Field(0, description="`seq` of the last event that is known already.")
    follow: bool = Field(True, description="Wait for what comes; else the stream ends with what is there.")
    until_end: bool = Field(False, description="The stream ends when the study has and all was sent.")


@router.get("/studies/{study_id}/events", response_class=EventSourceResponse, responses=problems(404, 422))
async def stream_events(
    study: FoundStudy,
    context: InContext,
    query: Annotated[_EventsQuery, Query()],
    last_event_id: Annotated[
        Seq | None, Header(description="Outranks `after`: browsers send it by themselves.")
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Streams the events of a study, each with its `seq` as `id`.

    A message of the event type `end` comes last where the stream ends because there is nothing more to come; without
    it the connection was lost, and who comes again with `Last-Event-ID` misses nothing. Comments show that the
    connection lives.
    """
    seq = query.after if last_event_id is None else last_event_id
    while not context.is_stopping():
        # The state first: what it ended with is in the log then.
        state = await run_in_threadpool(_state, context, study.study_id)
        events = await run_in_threadpool(context.store.events, study.study_id, seq, limit=_BATCH)
        for event in events:
            yield ServerSentEvent(raw_data=_document(event), id=str(event.seq))
            seq = event.seq
        if len(events) < _BATCH and (not query.follow or (query.until_end and state in _ENDED)):
            yield ServerSentEvent(raw_data=End(state=state).model_dump_json(), event="end")
            return
        if not events:
            await anyio.sleep(_POLL_SECONDS)


def _state(context: Context, study_id: str) -> StudyState:
    return context.store.study(study_id).state


def _document(event: Event) -> str:
    payload = event.payload
    if event.kind == "study_created":
        payload = payload | {"spec": without_places(payload["spec"])}
    elif event.kind == "spec_changed":
        payload = without_places(payload)
    return EventDocument.model_validate(vars(event) | {"payload": payload}).model_dump_json()
