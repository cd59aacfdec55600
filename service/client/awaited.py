"""The client whose methods are awaited; what each does stands in blocking.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from service import drawing
from service.client import calls
from service.client.calls import Outcome, Pause, Send, Steps
from service.client.connection import options
from service.client.following import MAX_EVENT_BYTES, Following
from service.findings import (
    HistoryDocument,
    ImportanceDocument,
    LayersDocument,
    PaybackDocument,
    RungsDocument,
    TimelineDocument,
)
from service.schema import StudySpec, StudyState, Trial, TrialState
from service.wire import (
    Asked,
    Drain,
    EpochPoint,
    Event,
    Health,
    LedgerDocument,
    Preset,
    StudyDocument,
    StudySummary,
    WorkersDocument,
)

T = TypeVar("T")


class AsyncClient:
    """A service, reached over HTTP; arguments and errors are those of `Client`."""

    def __init__(self, url: str | None = None, token: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx2.AsyncClient(**options(url, token, timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def submit(self, study: str | Path | dict[str, Any] | StudySpec, **overrides: Any) -> AsyncStudyHandle:
        return AsyncStudyHandle(self, await self.run(calls.submit(study, overrides)))

    async def study(self, study: str) -> AsyncStudyHandle:
        return AsyncStudyHandle(self, await self.run(calls.find(study)))

    async def studies(self) -> list[StudySummary]:
        return await self.run(calls.studies())

    async def presets(self) -> list[Preset]:
        return await self.run(calls.presets())

    async def workers(self) -> WorkersDocument:
        return await self.run(calls.workers())

    async def drain_worker(self, name: str) -> Drain:
        return await self.run(calls.drain(name))

    async def undrain_worker(self, name: str) -> Drain:
        return await self.run(calls.drain(name, undo=True))

    async def health(self) -> Health:
        return await self.run(calls.health())

    async def run(self, steps: Steps[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._take(step)

    async def _take(self, step: Send | Pause) -> Outcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.request(
                step.method, step.path, params=step.params, json=step.json, headers=step.headers
            )
        except httpx2.TransportError as error:
            return error

    async def follow(self, following: Following) -> AsyncIterator[Event]:
        while not following.is_over:
            error: Exception | None = None
            try:
                async with self._http.stream("GET", following.path, **following.request) as response:
                    if not response.is_success:
                        await response.aread()
                    if following.check(response):
                        async for message in httpx2.EventSource(response, MAX_EVENT_BYTES):
                            event = following.take(message)
                            if event is not None:
                                yield event
            except httpx2.TransportError as lost:
                error = lost
            if not following.is_over:
                await asyncio.sleep(following.lost(self._http.base_url, error))


class AsyncStudyHandle:
    """A study of a service; arguments are those of `StudyHandle`.

    What asks the service is called and awaited, so also `await handle.state()`, and `reason()` and `spec()`;
    `iter_events` is read by `async for`.
    """

    def __init__(self, client: AsyncClient, study: StudyDocument) -> None:
        self._client = client
        self.study_id, self.name = study.study_id, study.name

    def __repr__(self) -> str:
        return f"AsyncStudyHandle({self.study_id!r}, name={self.name!r})"

    async def plot_front(self) -> Any:
        return drawing.front(await self._snapshot())

    async def plot_hypervolume(self) -> Any:
        return drawing.hypervolume(await self._snapshot())

    async def plot_parallel_coordinates(self) -> Any:
        return drawing.parallel_coordinates(await self._snapshot())

    async def state(self) -> StudyState:
        return (await self.document()).state

    async def reason(self) -> str | None:
        return (await self.document()).reason

    async def spec(self) -> StudySpec:
        return (await self.document()).spec

    async def document(self) -> StudyDocument:
        return await self._client.run(calls.show(self.study_id))

    async def status(self) -> dict[str, Any]:
        return await self._client.run(calls.status(self.study_id))

    async def wait(
        self, progress: bool | Callable[[StudySummary], None] = False, timeout: float | None = None
    ) -> StudyState:
        return await self._client.run(calls.wait(self.study_id, progress, timeout))

    async def front(self) -> list[Trial]:
        return await self._client.run(calls.front(self.study_id))

    async def trials(self, state: TrialState | None = None) -> list[Trial]:
        return await self._client.run(calls.trials(self.study_id, state))

    async def trial(self, trial_id: str) -> Trial:
        return await self._client.run(calls.trial(self.study_id, trial_id))

    async def epochs(self, trial_id: str) -> list[EpochPoint]:
        return await self._client.run(calls.epochs(self.study_id, trial_id))

    async def layers(self, trial_id: str) -> LayersDocument:
        return await self._client.run(calls.layers(self.study_id, trial_id))

    async def ledger(self) -> LedgerDocument:
        return await self._client.run(calls.ledger(self.study_id))

    async def history(self) -> HistoryDocument:
        return await self._client.run(calls.history(self.study_id))

    async def timeline(self) -> TimelineDocument:
        return await self._client.run(calls.timeline(self.study_id))

    async def rungs(self) -> RungsDocument:
        return await self._client.run(calls.rungs(self.study_id))

    async def importance(self) -> ImportanceDocument:
        return await self._client.run(calls.importance(self.study_id))

    async def payback(self) -> PaybackDocument:
        return await self._client.run(calls.payback(self.study_id))

    def iter_events(self, after: int = 0, follow: bool = False) -> AsyncIterator[Event]:
        return self._client.follow(Following(self.study_id, after, follow=follow))

    async def pause(self) -> Asked:
        return await self._client.run(calls.ask(self.study_id, "pause"))

    async def resume(self) -> Asked:
        return await self._client.run(calls.ask(self.study_id, "resume"))

    async def stop(self) -> Asked:
        return await self._client.run(calls.ask(self.study_id, "stop"))

    async def retry(self, trial_id: str) -> Asked:
        return await self._client.run(calls.ask(self.study_id, "retry", trial_id))

    async def cancel_trial(self, trial_id: str) -> Asked:
        return await self._client.run(calls.ask(self.study_id, "cancel", trial_id))

    async def _snapshot(self) -> drawing.Snapshot:
        return drawing.Snapshot.of(await self.document(), await self.trials())
