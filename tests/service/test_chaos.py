"""A study through everything that goes wrong at a cluster: whatever is killed, restarted or locked, nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from service.client import Client
from service.errors import UnreachableError
from service.ledger import Ledger, reports_of
from service.ranking import costs, front
from service.schema import StudySpec
from service.store import Event, Store
from tests.service.processes import DASK, GREENSHIFT, descendants, reserved_port, started, wait_until
from worker.schema import TrialResult

N_TRIALS = 60
QUICK = StudySpec.load(str(Path(__file__).parent / "quick.yaml")).model_dump(mode="json", exclude_none=True)


class Site:
    """A scheduler, two workers and a service, each a process of its own that can be killed and started again."""

    def __init__(self, folder: Path, scheduler_port: int, port: int) -> None:
        self._folder, self._scheduler_port, self._port = folder, scheduler_port, port
        self._stacks: dict[str, ExitStack] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def database(self) -> Path:
        return self._folder / "out" / "studies.sqlite"

    def start(self, name: str) -> None:
        """Starts `scheduler`, `worker-0`, `worker-1` or `serve`."""
        address = f"tcp://127.0.0.1:{self._scheduler_port}"
        commands = {
            "scheduler": [*DASK, "scheduler", "--host", "127.0.0.1", "--port", str(self._scheduler_port),
                          "--dashboard-address", "127.0.0.1:0"],
            "serve": [*GREENSHIFT, "serve", "--port", str(self._port), "--scheduler", address,
                      "--out", str(self._folder / "out")],
        }  # fmt: skip
        worker = [*GREENSHIFT, "worker", address, "--cores-per-worker", "1", "--name", name]
        stack = self._stacks[name] = ExitStack()
        log = self._folder / f"{name}.log"
        self.processes[name] = stack.enter_context(started(*commands.get(name, worker), log=log))

    def kill(self, name: str) -> None:
        """Ends a process at once; it has no time for anything."""
        self.processes[name].kill()
        self.processes[name].wait()
        self._stacks.pop(name).close()

    def kill_a_worker(self) -> None:
        """Ends the Dask worker below `greenshift worker` once it is there, with the trial that it runs."""

        def is_killed() -> bool:
            for pid in descendants(self.processes["worker-0"].pid):
                with suppress(FileNotFoundError, ProcessLookupError):
                    if "dask" in Path(f"/proc/{pid}/cmdline").read_text():
                        os.kill(pid, signal.SIGKILL)
                        return True
            return False

        wait_until(is_killed)

    def lock_database(self, seconds: float) -> None:
        """Keeps everybody from writing for a while."""
        with sqlite3.connect(self.database, isolation_level=None, timeout=60) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self._port}")

    def close(self) -> None:
        for stack in self._stacks.values():
            stack.close()


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    with reserved_port() as scheduler_port, reserved_port() as port:
        place = Site(folder, scheduler_port, port)
        try:
            for name in ("scheduler", "worker-0", "worker-1", "serve"):
                place.start(name)
            yield place
        finally:
            place.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nothing_is_lost_whatever_is_killed_restarted_or_locked(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        wait_until(lambda: _answers(place))
        with place.client() as client:
            study_id = client.submit(QUICK, n_trials=N_TRIALS).study_id
        with Store(place.database) as store:

            def n_done() -> int:
                counts = store.n_trials(study_id)
                return counts["completed"] + counts["failed"]

            disturbances: list[Callable[[], None]] = [
                place.kill_a_worker,
                lambda: _restart(place, "scheduler"),
                lambda: place.lock_database(3),
                lambda: _restart(place, "serve"),
                place.kill_a_worker,
            ]
            for index, disturb in enumerate(disturbances, start=1):
                wait_until(lambda index=index: n_done() >= 8 * index, seconds=240)
                disturb()
            wait_until(lambda: store.study(study_id).state == "COMPLETED", seconds=300)
            _check(store, study_id)


def _check(store: Store, study_id: str) -> None:
    spec, trials, events = store.study(study_id).spec, store.trials(study_id), store.events(study_id)
    # Every trial is accounted for, and its result was accepted once.
    assert len(trials) == N_TRIALS
    assert {t.state.value for t in trials} <= {"COMPLETED", "FAILED"}
    finals = Counter(e.trial_id for e in events if e.payload.get("state") in ("COMPLETED", "FAILED"))
    assert finals == Counter(t.trial_id for t in trials)
    # Every attempt that began has ended, in one way or another.
    began = Counter(e.trial_id for e in events if e.kind == "attempt_started")
    ended = Counter(e.trial_id for e in events if e.kind in ("attempt_finished", "attempt_abandoned"))
    assert began == ended
    assert sum(began.values()) > N_TRIALS, "nothing was disturbed"
    # What dead attempts spent is kept as far as anybody knows it, and told where not.
    ledger = Ledger.from_events(events)
    assert ledger.joules == pytest.approx(sum(_joules(e) for e in events))
    assert sum(entry.n_attempts for entry in ledger.entries) >= sum(began.values())
    # The front is that of brute force.
    full = [t for t in trials if t.is_full and not t.is_default and t.state == "COMPLETED"]
    points = costs(spec, full)
    best = {
        t.trial_id
        for t, p in zip(full, points, strict=True)
        if not any(np.all(q <= p) and np.any(q < p) for q in points)
    }
    assert {t.trial_id for t in front(spec, trials)} == best


def _joules(event: Event) -> float:
    if event.kind not in ("attempt_finished", "late_result"):
        return 0.0
    result = TrialResult.model_validate(event.payload["result"])
    return sum(report.joules or 0.0 for report in reports_of(result))


def _restart(place: Site, name: str) -> None:
    place.kill(name)
    place.start(name)


def _answers(place: Site) -> bool:
    with place.client() as client:
        try:
            client.studies()
        except UnreachableError:
            return False
    return True
