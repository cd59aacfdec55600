from __future__ import annotations

import time

import pytest
from distributed import get_worker
from distributed.core import Status
from distributed.scheduler import KilledWorker

from service.handover import handover, last_word, leave_word
from tests.service.clusters import client_of_threads
from tests.service.fakes import completed


def _leave(topic: str, seconds: float) -> None:
    """Runs on the worker: sees that this closes, and needs so long to say what came of it."""
    worker = get_worker()
    with handover(worker):
        worker.log_event("begun", topic)
        while worker.status is Status.running:
            time.sleep(0.01)
        time.sleep(seconds)
        leave_word(worker, topic, completed("1"))


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_worker_waits_until_its_trial_has_said_what_came_of_it(seconds: float) -> None:
    with client_of_threads(1) as client:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        future = client.submit(_leave, "s/1/1", seconds)
        while not client.get_events("begun"):
            time.sleep(0.01)
        assert last_word(client, "s/1/1") is None
        (worker,) = client.cluster.workers.values()
        client.sync(worker.close)
        assert isinstance(future.exception(timeout=30), KilledWorker)
        assert last_word(client, "s/1/1") == completed("1")


def test_a_worker_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.handover._SECONDS", 0.3)
    with client_of_threads(1) as client:
        future = client.submit(_leave, "s/1/1", 1.5)
        while not client.get_events("begun"):
            time.sleep(0.01)
        (worker,) = client.cluster.workers.values()
        asked = time.monotonic()
        client.sync(worker.close, executor_wait=False)
        assert time.monotonic() - asked < 1.2
        assert last_word(client, "s/1/1") is None
        # Else its thread would outlive the test.
        del future
        time.sleep(max(0.0, asked + 1.7 - time.monotonic()))
