from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

import pytest

from service.client import AsyncClient, AsyncStudyHandle, Client, StudyHandle
from service.errors import RefusedError, UnreachableError
from service.schema import Study, StudyState, TrialState
from service.store import Store
from tests.service.fakes import study_document


def public(kind: type) -> dict[str, inspect.Signature | None]:
    """What a class offers, and what its methods take."""
    members = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    return {name: inspect.signature(m) if callable(m) else None for name, m in members.items()}


@pytest.mark.parametrize(("waits", "awaited"), [(Client, AsyncClient), (StudyHandle, AsyncStudyHandle)])
def test_both_clients_offer_the_same(waits: type, awaited: type) -> None:
    ours, theirs = public(waits), public(awaited)
    assert ours.keys() == theirs.keys()
    for name, signature in ours.items():
        if signature is not None:
            assert signature.parameters == theirs[name].parameters, name  # type: ignore[union-attr]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, timeout=120))


def test_whatever_asks_the_service_is_called_and_then_awaited() -> None:
    members = {name: member for name, member in vars(AsyncStudyHandle).items() if not name.startswith("_")}
    assert [name for name, member in members.items() if not inspect.iscoroutinefunction(member)] == ["iter_events"]


def test_all_that_can_be_read_is_what_the_other_client_reads(url: str, client: Client, study: Study) -> None:
    handle = client.study(study.study_id)

    async def read() -> None:
        async with AsyncClient(url) as awaited:
            other = await awaited.study("toy")
            assert await awaited.studies() == client.studies()
            assert await awaited.presets() == client.presets()
            assert await awaited.workers() == client.workers()
            assert await awaited.health() == client.health()
            assert (other.study_id, other.name, await other.state()) == (handle.study_id, handle.name, handle.state)
            assert await other.reason() == handle.reason
            assert (await other.spec(), await other.document()) == (handle.spec, handle.document())
            assert (await other.status(), await other.ledger()) == (handle.status(), handle.ledger())
            assert (await other.front(), await other.trials()) == (handle.front(), handle.trials())
            assert await other.trials(TrialState.FAILED) == handle.trials(TrialState.FAILED)
            assert (await other.trial("00001"), await other.epochs("00005")) == (
                handle.trial("00001"),
                handle.epochs("00005"),
            )
            assert (await other.timeline(), await other.rungs()) == (handle.timeline(), handle.rungs())
            assert (await other.importance(), await other.payback()) == (handle.importance(), handle.payback())
            assert await other.layers("00001") == handle.layers("00001")
            assert (await other.history()).points[:-1] == handle.history().points[:-1]
            assert [event async for event in other.iter_events()] == list(handle.iter_events())

    run(read())


def test_all_that_can_be_asked_for_stands_in_the_store(url: str, store: Store, study: Study) -> None:
    async def ask() -> None:
        async with AsyncClient(url) as client:
            handle = await client.study(study.study_id)
            await asyncio.gather(handle.pause(), handle.resume(), handle.retry("00004"), handle.cancel_trial("00005"))
            await handle.stop()
            with pytest.raises(RefusedError):
                await handle.retry("00001")

    run(ask())
    kinds = [request.kind for request in store.requests(study.study_id)]
    assert sorted(kinds[:-1]) == ["cancel", "pause", "resume", "retry"] and kinds[-1] == "stop"


def test_studies_are_submitted_and_waited_for_side_by_side(url: str, store: Store) -> None:
    async def submit() -> list[StudyState]:
        async with AsyncClient(url) as client:
            handles = [await client.submit(study_document(name=name)) for name in ("one", "two")]
            for handle, state in zip(handles, (StudyState.COMPLETED, StudyState.STOPPED), strict=True):
                store.set_study_state(handle.study_id, state)
            return list(await asyncio.gather(*(handle.wait() for handle in handles)))

    assert run(submit()) == [StudyState.COMPLETED, StudyState.STOPPED]


def test_following_events_leaves_time_for_other_work(url: str, store: Store, study: Study) -> None:
    async def follow() -> list[int]:
        async with AsyncClient(url) as client:
            handle = await client.study(study.study_id)
            stream = handle.iter_events(follow=True)
            found = [(await anext(stream)).seq]
            assert await handle.state() is StudyState.RUNNING
            await asyncio.to_thread(store.set_study_state, study.study_id, StudyState.COMPLETED)
            return found + [event.seq async for event in stream]

    assert run(follow()) == [event.seq for event in store.events(study.study_id)]


def test_where_nobody_listens_it_is_said(free_port: int) -> None:
    async def ask() -> None:
        async with AsyncClient(f"http://127.0.0.1:{free_port}") as client:
            await client.health()

    with pytest.raises(UnreachableError, match="no service answers at"):
        run(ask())
