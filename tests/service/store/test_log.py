from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from service.store import Store
from tests.service.fakes import study_spec

Where = Path | str


@pytest.fixture(params=["file", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    return tmp_path / "study.sqlite" if request.param == "file" else request.getfixturevalue("postgresql_url")


@contextmanager
def held_before_commit(store: Store) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Lets changes of `store` come up to their commits and no further: events for being there, and for going on."""
    is_there, go_on = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        is_there.set()
        go_on.wait(120)

    event.listen(store.database._engine, "commit", hold)
    try:
        yield is_there, go_on
    finally:
        go_on.set()


def new_events(store: Store, study_id: str, seen: list[tuple[int, str | None]]) -> None:
    """Reads on from the last number seen, as a live view does."""
    after = seen[-1][0] if seen else 0
    seen += [(e.seq, e.trial_id) for e in store.events(study_id, after) if e.kind == "trial_told"]


def test_a_reader_that_goes_on_from_the_last_number_misses_no_writer(where: Where) -> None:
    seen: list[tuple[int, str | None]] = []
    with Store(where) as first, Store(where) as second, Store(where) as reader, ThreadPoolExecutor(2) as pool:
        study_id = reader.create_study(study_spec()).study_id
        with held_before_commit(first) as (is_there, go_on):
            one = pool.submit(first.record_told, study_id, "1")
            assert is_there.wait(120)
            two = pool.submit(second.record_told, study_id, "2")
            with pytest.raises(TimeoutError):
                two.result(timeout=0.2)
            new_events(reader, study_id, seen)
            assert seen == []
            go_on.set()
            one.result(120)
            two.result(120)
        new_events(reader, study_id, seen)
    assert [trial_id for _, trial_id in seen] == ["1", "2"]


def test_writers_of_two_studies_do_not_wait_for_each_other(postgresql_url: str) -> None:
    with Store(postgresql_url) as first, Store(postgresql_url) as second, ThreadPoolExecutor(1) as pool:
        one, two = (first.create_study(study_spec()).study_id for _ in range(2))
        with held_before_commit(first) as (is_there, go_on):
            held = pool.submit(first.record_told, one, "1")
            assert is_there.wait(120)
            second.record_told(two, "2")
            assert not held.done()
            go_on.set()
            held.result(120)


def test_a_reader_beside_two_busy_writers_sees_everything_once_and_in_order(where: Where) -> None:
    n = 40
    seen: list[tuple[int, str | None]] = []
    with Store(where) as first, Store(where) as second, Store(where) as reader, ThreadPoolExecutor(2) as pool:
        study_id = reader.create_study(study_spec()).study_id

        def write(store: Store, name: str) -> None:
            for i in range(n):
                store.record_told(study_id, f"{name}{i}")

        writing = [pool.submit(write, first, "a"), pool.submit(write, second, "b")]
        while not all(w.done() for w in writing):
            new_events(reader, study_id, seen)
        for w in writing:
            w.result()
        new_events(reader, study_id, seen)
    assert [seq for seq, _ in seen] == sorted({seq for seq, _ in seen})
    for name in "ab":
        assert [t for _, t in seen if t and t.startswith(name)] == [f"{name}{i}" for i in range(n)]
