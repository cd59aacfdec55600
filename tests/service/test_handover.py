from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from distributed import get_worker
from distributed.core import Status
from distributed.scheduler import KilledWorker

from service.handover import begins, handover, last_word, leave_word, word_of_another
from tests.service.clusters import client_of_threads
from tests.service.fakes import completed
from tests.service.processes import wait_until
from worker.schema import TrialResult


def _leave(topic: str, gate: Path) -> None:
    """Runs on the worker: sees that this closes, and says what came of it once the gate is there."""
    worker = get_worker()
    with handover(worker):
        worker.log_event("begun", topic)
        while worker.status is Status.running:
            time.sleep(0.01)
        wait_until(gate.exists)
        leave_word(worker, [topic], completed("1"))
    gate.with_name("done").touch()


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_worker_waits_until_its_trial_has_said_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("service.handover._SECONDS", 60.0)
    gate = tmp_path / "gate"
    with client_of_threads(1) as client:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        future = client.submit(_leave, "s/1/1", gate)
        while not client.get_events("begun"):
            time.sleep(0.01)
        assert last_word(client, "s/1/1") is None
        (worker,) = client.cluster.workers.values()
        threading.Timer(seconds, gate.touch).start()
        client.sync(worker.close)
        assert isinstance(future.exception(timeout=120), KilledWorker)
        assert last_word(client, "s/1/1") == completed("1")


def test_a_worker_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.handover._SECONDS", 0.3)
    with client_of_threads(1) as client:
        future = client.submit(_leave, "s/1/1", tmp_path / "gate")
        while not client.get_events("begun"):
            time.sleep(0.01)
        (worker,) = client.cluster.workers.values()
        client.sync(worker.close, executor_wait=False)
        assert last_word(client, "s/1/1") is None
        # Else its thread would outlive the test.
        del future
        (tmp_path / "gate").touch()
        wait_until((tmp_path / "done").exists)


def _run_again(topic: str) -> tuple[bool, TrialResult | None]:
    """Runs on another worker."""
    worker = get_worker()
    return begins(worker, topic), word_of_another(worker, topic)


def test_what_dask_runs_again_does_not_begin_and_has_the_word_of_who_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.handover._HEAR_SECONDS", 0.2)
    with client_of_threads(1) as client:
        assert client.submit(_run_again, "s/1/1", pure=False).result(timeout=30) == (True, None)
        assert client.submit(_run_again, "s/1/1", pure=False).result(timeout=30) == (False, None)
        assert last_word(client, "s/1/1") is None
        client.log_event("s/1/1", completed("1").model_dump_json())
        assert client.submit(_run_again, "s/1/1", pure=False).result(timeout=30) == (False, completed("1"))
        assert last_word(client, "s/1/1") == completed("1")
