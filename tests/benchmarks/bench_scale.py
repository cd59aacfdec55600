"""How far one coordinator reaches: many workers on a real Dask scheduler, and memory over a long study.

Scheduler and workers are threads of one other process, and a trial is a pause in place of training; dispatch, optimizer
and store are those of the service. What 256 workers wait for is told by `bench_coordinator`, on a simulated clock.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import dask
import psutil
from distributed import Client
from rich.console import Console
from rich.table import Table

from service.assembly import make_coordinator
from service.dispatch import DaskDispatcher
from service.schema import Trial, TrialState
from service.store import Store
from tests.service.clusters import threads
from tests.service.fakes import FACTS, completed, evaluate, study_spec, trial
from worker.schema import TrialResult, TrialSpec

_MEGABYTE = 2**20


@dataclass(frozen=True)
class Reached:
    """What so many workers did.

    Attributes:
        n_trials: completed.
        seconds: from the first ask to the last result.
        trial_seconds: that a trial takes.
        n_workers: at a time.
        loop_seconds: processor time of the thread that coordinates.
        all_seconds: processor time of the whole process.
        cluster_seconds: of the process that holds scheduler and workers.
        peak_bytes: resident memory of the process at most, and at the start.
        database_bytes: of the store.
    """

    n_trials: int
    seconds: float
    trial_seconds: float
    n_workers: int
    loop_seconds: float
    all_seconds: float
    cluster_seconds: float
    peak_bytes: int
    start_bytes: int
    database_bytes: int

    @property
    def busy_share(self) -> float:
        """Of the workers' time."""
        return self.n_trials * self.trial_seconds / (self.seconds * self.n_workers)


def reach(folder: Path, *, n_trials: int, n_workers: int, trial_seconds: float, optimizer: str) -> Reached:
    """Runs a study to its end with the real coordinator on a real scheduler."""
    path = folder / "reach.sqlite"
    with Store(path) as store, cluster_elsewhere(n_workers, trial_seconds) as (client, cluster):
        study = store.create_study(study_spec(optimizer=optimizer, budget={"n_trials": n_trials}))
        coordinator = make_coordinator(study, store, DaskDispatcher(client), FACTS)
        start_bytes = psutil.Process().memory_info().rss
        started = _now(cluster)
        with peak_memory() as peak:
            coordinator.run()
        wall, loop, processor, elsewhere = (end - start for start, end in zip(started, _now(cluster), strict=True))
        n_completed = store.n_trials(study.study_id)["completed"]
    return Reached(
        n_completed,
        wall,
        trial_seconds,
        n_workers,
        loop,
        processor,
        elsewhere,
        peak[0],
        start_bytes,
        path.stat().st_size,
    )


def _now(cluster: psutil.Process) -> tuple[float, float, float, float]:
    """Seconds of the clock, and of processor time: of this thread, of this process and of that one."""
    theirs = cluster.cpu_times()
    return time.perf_counter(), time.thread_time(), time.process_time(), theirs.user + theirs.system


@contextmanager
def cluster_elsewhere(n_workers: int, trial_seconds: float) -> Iterator[tuple[Client, psutil.Process]]:
    """A client of a scheduler with workers whose trials are pauses, and the process that holds them."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold_cluster, args=(theirs, n_workers, trial_seconds))
    process.start()
    try:
        with Client(ours.recv(), set_as_default=False) as client:
            yield client, psutil.Process(process.pid)
    finally:
        ours.send("end")
        process.join()


def _hold_cluster(pipe: Connection, n_workers: int, trial_seconds: float) -> None:
    # So many workers in one process would look at its processor time and its discs so many times.
    quiet = dask.config.set({"distributed.admin.system-monitor.interval": "1h"})
    with quiet, paused(trial_seconds), threads(n_workers, protocol="tcp://", memory_limit=0) as cluster:
        pipe.send(cluster.scheduler_address)
        pipe.recv()


@contextmanager
def paused(seconds: float) -> Iterator[None]:
    """Workers pause where they would train."""

    def run_trial(spec: TrialSpec, **_options: Any) -> TrialResult:
        time.sleep(seconds)
        return evaluate(spec)

    with mock.patch("worker.entry.run_trial", run_trial):
        yield


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Resident memory of this process at most, in bytes."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], psutil.Process().memory_info().rss)
            if done.wait(0.2):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def memory_while_recording(folder: Path, n_trials: int, n_looks: int = 5) -> list[tuple[int, float]]:
    """Resident memory in MB after each fifth of the trials has been recorded, as a coordinator records them."""
    found = []
    with Store(folder / "memory.sqlite") as store:
        study_id = store.create_study(study_spec()).study_id
        for look in range(n_looks):
            for start in range(look * n_trials // n_looks, (look + 1) * n_trials // n_looks, 50):
                _record(store, [trial(f"{i:06}", study_id=study_id) for i in range(start, start + 50)])
            found.append(((look + 1) * n_trials // n_looks, psutil.Process().memory_info().rss / _MEGABYTE))
    return found


def _record(store: Store, trials: list[Trial]) -> None:
    for each in trials:
        store.record_asked(each.study_id, [], [each])
    store.start_attempts(trials)
    results = [completed(t.trial_id, study_id=t.study_id, error=0.1, deployment_energy=1e-7) for t in trials]
    store.finish_attempts([(result, TrialState.COMPLETED) for result in results])


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.5, help="that a trial takes")
    parser.add_argument("--optimizer", default="random")
    parser.add_argument("--recorded", type=int, default=50_000)
    options = parser.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        run = reach(
            Path(folder),
            n_trials=options.trials,
            n_workers=options.workers,
            trial_seconds=options.seconds,
            optimizer=options.optimizer,
        )
        table = Table("", "", title=f"{run.n_trials:,} trials of {run.trial_seconds} s on {run.n_workers} workers")
        table.add_row("trials a second", f"{run.n_trials / run.seconds:.1f}")
        table.add_row("share of the workers' time that was used", f"{100 * run.busy_share:.1f} %")
        table.add_row("processor time a trial, coordinating thread", f"{1e3 * run.loop_seconds / run.n_trials:.1f} ms")
        table.add_row("the same, its whole process", f"{1e3 * run.all_seconds / run.n_trials:.1f} ms")
        table.add_row("the same, scheduler and workers", f"{1e3 * run.cluster_seconds / run.n_trials:.1f} ms")
        table.add_row("memory at most", f"{run.peak_bytes / _MEGABYTE:.0f} MB")
        table.add_row("of which before the first trial", f"{run.start_bytes / _MEGABYTE:.0f} MB")
        table.add_row("database a trial", f"{run.database_bytes / run.n_trials / 1024:.1f} KiB")
        console.print(table)
        looks = memory_while_recording(Path(folder), options.recorded)
        console.print("memory while recording: " + ", ".join(f"{n:,} trials {m:.0f} MB" for n, m in looks))


if __name__ == "__main__":
    main()
