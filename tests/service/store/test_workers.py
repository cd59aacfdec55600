from __future__ import annotations

from datetime import UTC, datetime

from service.store import Store, Workers, WorkerStatus

ONE = WorkerStatus("tcp://10.0.0.1:4000", "gpu-0", "GPU", 1, 1, "NVIDIA H100", ("abc", "def"))
OTHER = WorkerStatus("tcp://10.0.0.2:4000", "gpu-1", "GPU", 1, 0)


def test_nobody_has_looked_is_told_apart_from_nobody_is_there(store: Store) -> None:
    assert Workers(store).latest().seen_at is None
    Workers(store).record([])
    latest = Workers(store).latest()
    assert (latest.workers, latest.seen_at is None) == ([], False)


def test_what_is_recorded_takes_the_place_of_what_was(store: Store) -> None:
    before = datetime.now(UTC)
    Workers(store).record([ONE])
    Workers(store).record([ONE, OTHER])
    latest = Workers(store).latest()
    assert latest.workers == [ONE, OTHER]
    assert latest.seen_at is not None and before <= latest.seen_at <= datetime.now(UTC)


def test_a_worker_stays_drained_until_it_is_taken_back_whoever_is_there(store: Store) -> None:
    workers = Workers(store)
    for name in ("gpu-0", "tcp://10.0.0.2:4000", "gpu-0"):
        workers.drain(name)
    workers.record([ONE])
    assert Workers(store).drained() == {"gpu-0", "tcp://10.0.0.2:4000"}
    workers.undrain("gpu-0")
    workers.undrain("nobody")
    assert workers.drained() == {"tcp://10.0.0.2:4000"}
