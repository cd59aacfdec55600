"""The service as it is meant to run: scheduler, workers and `greenshift serve` are processes of their own."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.client import Client, StudyHandle
from service.schema import StudySpec, TrialState
from service.store import Store
from service.workers import n_cores
from tests.service.processes import GREENSHIFT, dask_scheduler, started, wait_until

QUICK = StudySpec.load(str(Path(__file__).parent / "quick.yaml")).model_dump(mode="json", exclude_none=True)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A scheduler and a worker for each core; its address."""
    with dask_scheduler(folder) as (_, address):
        worker = [*GREENSHIFT, "worker", address, "--local-directory", str(folder)]
        with started(*worker, log=folder / "worker.log"):
            yield address


@contextmanager
def served(folder: Path, address: str, name: str) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """`greenshift serve` on a free port, and a client of it."""
    log = folder / f"{name}.log"
    command = [*GREENSHIFT, "serve", "--port", "0", "--scheduler", address, "--out", str(folder / "out")]
    with started(*command, log=log, PYTHONUNBUFFERED="1") as process:
        wait_until(lambda: re.search(r"Serving at (\S+);", log.read_text()))
        found = re.search(r"Serving at (\S+);", log.read_text())
        assert found is not None
        with Client(found[1]) as client:
            yield process, client


def learning(handle: StudyHandle) -> dict[str, int]:
    """Attempts that workers are in the middle of, by trial."""
    return {t.trial_id: t.attempt for t in handle.trials(TrialState.RUNNING) if handle.epochs(t.trial_id)}


@pytest.mark.slow
def test_a_study_over_three_processes_outlives_its_service(tmp_path: Path) -> None:
    with cluster(tmp_path) as address:
        with served(tmp_path, address, "first") as (serving, client):
            first = client.submit(QUICK, n_trials=3)
            assert first.wait(timeout=240) == "COMPLETED"
            assert first.status()["n_trials"] == {"waiting": 0, "running": 0, "completed": 3, "failed": 0, "stopped": 0}
            assert {t.trial_id for t in first.front()} <= {t.trial_id for t in first.trials()} - {"default"}
            wait_until(lambda: [w.n_slots for w in client.workers().workers] == [1] * n_cores())

            second = client.submit(QUICK, n_trials=3, seed=1, name="second")
            found: dict[str, int] = {}
            wait_until(lambda: found.update(learning(second)) or found)
            serving.kill()
            serving.wait()
        with served(tmp_path, address, "again") as (_, client):
            second = client.study("second")
            assert second.wait(timeout=240) == "COMPLETED"
            assert {t.trial_id: t.attempt for t in second.trials() if t.trial_id in found} == found

    with Store(tmp_path / "out" / "studies.sqlite") as store:
        events = store.events(second.study_id)
    results = Counter((e.trial_id, e.payload["result"]["attempt"]) for e in events if e.kind == "attempt_finished")
    assert len({trial_id for trial_id, _ in results}) == 3
    assert set(results.values()) == {1}
