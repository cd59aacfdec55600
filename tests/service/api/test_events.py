from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx2
import pytest
from fastapi.testclient import TestClient

from service.schema import Study, StudyState
from service.store import Store
from tests.service.fakes import completed
from tests.service.served import finish, serving


@pytest.fixture
def path(study: Study) -> str:
    return f"/api/v1/studies/{study.study_id}/events"


def seqs(text: str) -> list[int]:
    """Numbers of the events in a stream, as its `id` and its data agree on."""
    found = []
    for message in text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in message.splitlines())
        if "id" in fields:
            assert int(fields["id"]) == json.loads(fields["data"])["seq"]
            found.append(int(fields["id"]))
    return found


def test_the_log_is_streamed_as_it_is(http: TestClient, store: Store, study: Study, path: str) -> None:
    answer = http.get(path, params={"follow": False})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    *messages, end = answer.text.strip().split("\n\n")
    for message, event in zip(messages, store.events(study.study_id), strict=True):
        data, number = message.splitlines()
        document = json.loads(data.removeprefix("data: "))
        assert number == f"id: {event.seq}"
        assert (document["kind"], document["trial_id"]) == (event.kind, event.trial_id)
        if event.kind != "study_created":
            assert document["payload"] == event.payload
    assert end.splitlines() == ["event: end", 'data: {"state":"RUNNING"}']


def test_a_stream_goes_on_behind_a_number_and_the_header_outranks_it(
    http: TestClient, store: Store, study: Study, path: str
) -> None:
    numbers = [event.seq for event in store.events(study.study_id)]
    behind = {"follow": False, "after": numbers[3]}
    assert seqs(http.get(path, params=behind).text) == numbers[4:]
    assert seqs(http.get(path, params=behind, headers={"Last-Event-ID": str(numbers[-3])}).text) == numbers[-2:]
    assert http.get(path, params=behind, headers={"Last-Event-ID": "x"}).status_code == 422


def test_more_events_than_are_read_at_once_come_all(
    http: TestClient, store: Store, study: Study, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.events._BATCH", 3)
    numbers = [event.seq for event in store.events(study.study_id)]
    assert len(numbers) % 3 and len(numbers) > 6
    assert seqs(http.get(path, params={"follow": False}).text) == numbers


@pytest.mark.parametrize("state", [StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED])
def test_a_stream_until_the_end_ends_when_the_study_has(
    http: TestClient, store: Store, study: Study, path: str, state: StudyState
) -> None:
    threading.Timer(0.1, store.set_study_state, (study.study_id, state)).start()
    text = http.get(path, params={"until_end": True}).text
    assert seqs(text) == [event.seq for event in store.events(study.study_id)]
    assert text.strip().endswith(f'event: end\ndata: {{"state":"{state}"}}')


def test_a_stream_of_no_study_is_refused(http: TestClient) -> None:
    assert http.get("/api/v1/studies/abc/events").status_code == 404


def ids(response: httpx2.Response) -> Iterator[int]:
    return (int(message.id) for message in httpx2.EventSource(response))


def test_many_streams_hold_no_thread_and_new_events_come_to_all(store: Store, study: Study, path: str) -> None:
    # More than the forty threads that requests share.
    n_streams = 60
    with serving(store) as url, httpx2.Client(base_url=url, timeout=60) as http:
        last = store.events(study.study_id)[-1].seq
        with httpx2.Client(base_url=url, limits=httpx2.Limits(max_connections=None), timeout=60) as many:
            contexts = [many.stream("GET", path, params={"after": last}) for _ in range(n_streams)]
            streams = [ids(context.__enter__()) for context in contexts]
            try:
                assert http.get(f"/api/v1/studies/{study.study_id}", timeout=60).status_code == 200
                finish(store, study, completed("00007", error=0.1, deployment_energy=1.0))
                expected = [event.seq for event in store.events(study.study_id, last)]
                assert [[next(stream) for _ in expected] for stream in streams] == [expected] * n_streams
            finally:
                for context in contexts:
                    context.__exit__(None, None, None)


def test_streams_end_when_the_server_does_and_silence_is_broken_by_comments(
    store: Store, study: Study, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    last = store.events(study.study_id)[-1].seq
    lines: list[str] = []
    with httpx2.Client(timeout=60) as http:

        def read() -> None:
            with http.stream("GET", f"{url}{path}", params={"after": last}) as response:
                for line in response.iter_lines():
                    lines.append(line)
                    alive.set()

        alive, reader = threading.Event(), threading.Thread(target=read)
        with serving(store) as url:
            reader.start()
            assert alive.wait(60)
        reader.join(timeout=60)
    assert not reader.is_alive()
    assert set(lines) == {": ping", ""}
