"""What coordinating costs: a simulated cluster whose clock charges the real seconds of ask, tell and store."""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from service.asking import Asked, Asker
from service.assembly import make_coordinator, make_optimizer
from service.optimizer import Optimizer, Told
from service.proposals import told_of, trial_of
from service.recovery import optimizer_log
from service.schema import Study, Trial, TrialState
from service.specs import trial_spec
from service.store import Store
from tests.service import fakes
from tests.service.fakes import FACTS, FakeDispatcher, evaluate, study_spec

TRIAL_SECONDS = 60.0
# A trial takes up to so much less or more.
SPREAD = 0.2


@dataclass
class Simulation:
    """A study on `n_workers` workers, run by the coordinator's rules on a clock of its own.

    Two things take real time and are charged: the loop (records results, starts attempts, adds trials) and the
    optimizer's thread (tells and asks), which works beside the loop.
    """

    store: Store
    study: Study
    optimizer: Optimizer
    n_workers: int
    random: random.Random = field(default_factory=lambda: random.Random(0))
    now: float = 0.0
    loop_free_at: float = 0.0
    asker_free_at: float = 0.0
    is_asking: bool = False
    idle: deque[float] = field(default_factory=deque)
    ready: deque[Trial] = field(default_factory=deque)
    untold: list[Told] = field(default_factory=list)
    idle_seconds: float = 0.0
    busy_seconds: float = 0.0
    loop_seconds: list[float] = field(default_factory=list)
    ask_seconds: list[float] = field(default_factory=list)
    _events: list[tuple[float, int, Any]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def run(self) -> Simulation:
        """Runs until the optimizer has nothing more to suggest and all trials are done."""
        self.idle.extend([0.0] * self.n_workers)
        self._think()
        while self._events:
            self._handle(self._received())
            self._dispatch()
            self._think()
        return self

    def _received(self) -> list[Any]:
        """What happens next, and all that has happened by the time at which the loop comes to it."""
        self.now = max(self._events[0][0], self.loop_free_at)
        messages = []
        while self._events and self._events[0][0] <= self.now:
            messages.append(heapq.heappop(self._events)[2])
        return messages

    def _handle(self, messages: list[Any]) -> None:
        self._finished([what for kind, what in messages if kind == "finished"])
        for kind, what in messages:
            if kind == "asked":
                self._asked(what)

    @property
    def idle_share(self) -> float:
        """Share of the workers' time that nobody gave them a trial, the start and the end of the study left out."""
        return self.idle_seconds / (self.idle_seconds + self.busy_seconds)

    def _think(self) -> None:
        n_wanted = max(1, self.n_workers // 4) - len(self.ready)
        if self.is_asking or n_wanted <= 0:
            return
        told, self.untold = self.untold, []
        asker = Asker(lambda: self.optimizer, lambda _: None, time.perf_counter)
        asked = asker.answer(told, None, n_wanted)
        n_asked = max(1, len(asker.take(asked)))
        if not asked.suggestions and not told:
            return
        self.is_asking = True
        self.ask_seconds += [asked.seconds / n_asked] * n_asked
        self._at(max(self.now, self.asker_free_at) + asked.seconds, ("asked", asked))

    def _asked(self, asked: Asked) -> None:
        self.is_asking = False
        with _Charged(self):
            trials = [trial_of(suggestion, self.study, FACTS) for suggestion in asked.suggestions]
            self.store.record_asked(self.study.study_id, asked.told, trials, asked.snapshot)
            self.ready.extend(trials)

    def _dispatch(self) -> None:
        n_free = min(len(self.ready), len(self.idle))
        if not n_free:
            return
        with _Charged(self):
            started = self.store.start_attempts([self.ready.popleft() for _ in range(n_free)])
        for trial in started:
            free_since = self.idle.popleft()
            begin = max(self.now, self.loop_free_at)
            seconds = TRIAL_SECONDS * self.random.uniform(1 - SPREAD, 1 + SPREAD)
            if free_since > 0:
                self.idle_seconds += begin - free_since
                self.busy_seconds += seconds
            self._at(begin + seconds, ("finished", trial))

    def _finished(self, trials: list[Trial]) -> None:
        if not trials:
            return
        results = [evaluate(trial_spec(self.study.spec, trial)) for trial in trials]
        with _Charged(self):
            self.store.finish_attempts([(result, TrialState.COMPLETED) for result in results])
        self.untold.extend(told_of(result, self.study.spec) for result in results)
        self.idle.extend([self.now] * len(results))

    def _at(self, when: float, what: Any) -> None:
        heapq.heappush(self._events, (when, next(self._count), what))


class _Charged:
    """Real seconds that the loop is busy with."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_exception: object) -> None:
        seconds, it = time.perf_counter() - self._started, self._simulation
        it.loop_seconds.append(seconds)
        it.loop_free_at = max(it.now, it.loop_free_at) + seconds


def simulate(folder: Path, optimizer: str, n_trials: int, n_workers: int) -> tuple[Simulation, Store]:
    """A study of `n_trials` on `n_workers` workers with 60 s trials."""
    store = Store(folder / f"{optimizer}-{n_trials}-{n_workers}.sqlite")
    spec = study_spec(optimizer=optimizer, budget={"n_trials": n_trials})
    study = store.create_study(spec)
    return Simulation(store, study, make_optimizer(study, FACTS, n_workers), n_workers).run(), store


def burst_milliseconds(folder: Path, n_slots: int, n_rounds: int = 4) -> float:
    """Wall time of the real coordinator for each trial, where `n_slots` trials start and end together."""
    spec = study_spec(optimizer="random", budget={"n_trials": 2 * n_slots})
    seconds = []
    for i in range(n_rounds):
        with Store(folder / f"burst-{n_slots}-{i}.sqlite") as store:
            study = store.create_study(spec)
            for number in range(2 * n_slots):
                store.add_trial(fakes.trial(f"{number:05d}", study_id=study.study_id, is_default=True))
            dispatcher = FakeDispatcher(n_slots)
            coordinator = make_coordinator(store.study(study.study_id), store, dispatcher, FACTS)
            started = time.perf_counter()
            coordinator.run()
            seconds.append((time.perf_counter() - started) / (2 * n_slots))
    return 1e3 * statistics.median(seconds)


def replay_milliseconds(store: Store, study: Study) -> float:
    """Processor time of rebuilding the optimizer from the log, for each trial."""
    trials = {t.trial_id: t for t in store.trials(study.study_id)}
    log = optimizer_log(store.events(study.study_id), trials, study.spec)
    snapshot = store.latest_snapshot(study.study_id)
    optimizer = make_optimizer(study, FACTS, 1)
    started = time.process_time()
    optimizer.replay(log, snapshot.data if snapshot else None)
    return 1e3 * (time.process_time() - started) / len(trials)


def main() -> None:
    """Prints one row a study."""
    table = Table(title=f"coordinating trials of {TRIAL_SECONDS:.0f} s: real seconds charged to a simulated clock")
    for heading in ("optimizer", "trials", "workers", "idle share", "ask and tell: median [99 %], mean", "loop a trial",
                    "asks a second", "rebuilding a trial, CPU"):  # fmt: skip
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for optimizer, n_trials, n_workers in (
            ("greenshift", 200, 1),
            ("greenshift", 400, 64),
            ("smac-default", 200, 64),
            ("random", 1000, 64),
            ("random", 2000, 256),
        ):
            run, store = simulate(Path(folder), optimizer, n_trials, n_workers)
            asks = sorted(run.ask_seconds)
            table.add_row(
                optimizer, str(n_trials), str(n_workers), f"{100 * run.idle_share:.2f} %",
                f"{1e3 * statistics.median(asks):.1f} [{1e3 * asks[int(0.99 * len(asks))]:.0f}], "
                f"{1e3 * statistics.mean(asks):.1f} ms",
                f"{1e3 * sum(run.loop_seconds) / n_trials:.1f} ms", f"{len(asks) / sum(asks):,.0f}",
                f"{replay_milliseconds(store, run.study):.2f} ms",
            )  # fmt: skip
            store.close()
        bursts = {n: burst_milliseconds(Path(folder), n) for n in (1, 8, 64, 256)}
    Console(width=140).print(table)
    said = ", ".join(f"{n} together {milliseconds:.1f} ms" for n, milliseconds in bursts.items())
    Console(width=140).print(f"the coordinator's own time a trial, where trials that take none start and end: {said}")


if __name__ == "__main__":
    main()
