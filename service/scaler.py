"""Keeps as many workers in a batch system as the studies of a service have work for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from service.batch import worker_names
from service.errors import InputError, NotFoundError, RefusedError, ServiceError
from service.scaling import Decision, Job, Rules, Seen, decide, first_to_go, is_dirty, is_fresh, is_settled, to_do
from service.schema import StudyState
from service.wire import Drain, StudySummary, Worker, WorkersDocument

_TO_RUN = (StudyState.WAITING, StudyState.RUNNING)
# So many jobs in a row that end before their worker is there speak against the script and not against machines.
MAX_FAILURES = 5


class Jobs(Protocol):
    """A batch system, as `service.batch.Batch` is one."""

    def submit(self) -> str: ...
    def jobs(self) -> dict[str, bool]: ...
    def cancel(self, job_ids: list[str]) -> None: ...


class Office(Protocol):
    """A service, as `service.client.Client` is one."""

    def studies(self) -> list[StudySummary]: ...
    def workers(self) -> WorkersDocument: ...
    def drain_worker(self, name: str) -> Drain: ...
    def undrain_worker(self, name: str) -> Drain: ...


@dataclass(frozen=True)
class _Crew:
    """A job and its workers; more than one where it has a machine without GPUs for itself."""

    job: Job
    workers: tuple[Worker, ...]

    @property
    def names(self) -> list[str]:
        return [worker.name for worker in self.workers]

    @property
    def is_leaving(self) -> bool:
        return any(worker.state != "active" for worker in self.workers)

    @property
    def has_finished(self) -> bool:
        return bool(self.workers) and all(worker.state == "drained" for worker in self.workers)


class Scaler:
    """Begins and ends jobs, each of which holds a worker.

    It remembers nothing that matters: started again, it finds its jobs by their name. A worker that is not needed is
    drained first, so that no trial is lost; its job is ended when the worker has finished. What is older than
    `service.scaling.FRESH_SECONDS` lets nobody go.

    Args:
        jobs: of the batch system.
        office: the service whose studies are to be run.
        name: of the jobs.
        rules: how many workers there may be.
        intensity: of the electricity in gCO2eq/kWh, now; None is unknown.
        say: is given a line about each change.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        jobs: Jobs,
        office: Office,
        name: str,
        rules: Rules,
        *,
        intensity: Callable[[], float | None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs, self._office, self._name, self._rules = jobs, office, name, rules
        self._intensity, self._say, self._clock = intensity, say, clock
        self._decision: Decision | None = None
        # Jobs that have no worker yet; and workers of jobs that were ended, by name, with their job.
        self._strangers: set[str] = set()
        self._begun: set[str] = set()
        self._ended: dict[str, str] = {}
        # When workers were drained, or first seen to be.
        self._drained_at: dict[str, float] = {}
        self._n_failures = 0
        self._was_dirty = self._was_old = False
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Makes `run` return soon, from any thread or a signal handler."""
        self._stopping.set()

    def run(self, every_seconds: float) -> None:
        """Looks again and again until `stop`; then ends all jobs.

        Raises:
            InputError: the batch system's commands are not here.
            RefusedError: the service does not let us in.
            ServiceError: job after job ends before its worker is there.
        """
        try:
            while not self._stopping.is_set():
                try:
                    self.look()
                except (_HopelessError, InputError, RefusedError):
                    raise  # looking again would change nothing
                except ServiceError as error:
                    self._say(f"nothing is changed: {error}")
                self._stopping.wait(every_seconds)
        finally:
            self._end_all()

    def _end_all(self) -> None:
        try:
            left = list(self._jobs.jobs())
            self._jobs.cancel(left)
        except ServiceError as error:
            self._say(f"jobs called {self._name} may be left: {error}")
        else:
            self._say(f"ended {len(left)} jobs")

    def look(self) -> None:
        """Looks once, and does what is due.

        Raises:
            ServiceError: the service or the batch system does not answer, and nothing was done.
        """
        asked_at = self._clock()
        document = self._office.workers()
        if not document.is_current or document.age_seconds is None:
            raise ServiceError("the service has no cluster at the moment")
        # By our own clock, and no later than it was: it had this age when it was sent, after we had asked.
        seen_at = asked_at - document.age_seconds
        may_go = self._may_go(seen_at)
        jobs = self._jobs.jobs()
        self._forget(jobs)
        crews = self._crews(jobs, document.workers)
        self._heed_failures(crews)
        self._heed_drains(crews)
        finished = [crew for crew in crews if may_go and crew.has_finished and self._has_settled(crew, seen_at)]
        self._end(finished)
        staying = [crew for crew in crews if not crew.is_leaving]
        seen = self._seen(staying, crews, document.workers)
        self._decision = decide(seen, self._rules, self._decision)
        self._say_carbon(seen)
        n_more = self._decision.n_workers - seen.n_workers
        if n_more > 0:
            self._grow(n_more, [crew for crew in crews if crew.is_leaving and crew not in finished])
        elif n_more < 0 and may_go:
            self._shrink(staying, -n_more)

    def _may_go(self, seen_at: float) -> bool:
        """Whether workers may be let go by a roster of then."""
        age = self._clock() - seen_at
        is_old = not is_fresh(age)
        if is_old and not self._was_old:
            self._say(f"nobody goes: the service saw its workers {age:.0f} s ago")
        self._was_old = is_old
        return not is_old

    def _heed_drains(self, crews: list[_Crew]) -> None:
        """Remembers since when workers have been drained, also by somebody else."""
        drained = {worker.name for crew in crews for worker in crew.workers if worker.state != "active"}
        now = self._clock()
        self._drained_at = {name: self._drained_at.get(name, now) for name in drained}

    def _has_settled(self, crew: _Crew, seen_at: float) -> bool:
        return all(is_settled(seen_at, self._drained_at[name]) for name in crew.names)

    def _crews(self, jobs: dict[str, bool], workers: list[Worker]) -> list[_Crew]:
        found = []
        for job_id, is_pending in jobs.items():
            names = worker_names(self._name, job_id)
            ours = tuple(worker for worker in workers if worker.name.startswith(names))
            n_running = sum(worker.n_running for worker in ours) if ours else None
            found.append(_Crew(Job(job_id, is_pending, n_running), ours))
        return found

    def _seen(self, staying: list[_Crew], crews: list[_Crew], workers: list[Worker]) -> Seen:
        """What is to do for the workers that stay; those that others have started do their part first."""
        ours = {worker.name for crew in crews for worker in crew.workers}
        others = [worker for worker in workers if worker.name not in ours]
        leaving = [worker for crew in crews if crew.is_leaving for worker in crew.workers]
        n_idle = sum(worker.n_slots - worker.n_running for worker in others if worker.state == "active")
        studies = [study.n_trials for study in self._office.studies() if study.state in _TO_RUN]
        n_running, n_waiting = to_do((n.running, n.waiting) for n in studies)
        n_ready = sum(bool(crew.workers) for crew in staying)
        return Seen(
            self._clock(),
            n_running=max(0, n_running - sum(w.n_running for w in [*others, *leaving])),
            n_waiting=max(0, n_waiting - n_idle),
            n_ready=n_ready,
            n_coming=len(staying) - n_ready,
            grams_per_kwh=self._intensity(),
        )

    def _heed_failures(self, crews: list[_Crew]) -> None:
        """Counts jobs that are gone before they had a worker."""
        there = {crew.job.job_id for crew in crews}
        with_worker = {crew.job.job_id for crew in crews if crew.workers}
        if with_worker:
            self._n_failures = 0
        # A job whose worker has been there and left is about to end as it should.
        self._begun = (self._begun | with_worker) & there
        self._n_failures += len(self._strangers - there)
        self._strangers = there - self._begun
        if self._n_failures >= MAX_FAILURES:
            raise _HopelessError(
                f"{self._n_failures} jobs in a row ended before their worker was there; their logs say why"
            )

    def _grow(self, n: int, leaving: list[_Crew]) -> None:
        """Takes back who is about to leave, and asks for others."""
        for crew in leaving[:n]:
            self._let(self._office.undrain_worker, crew.names)
        new = [self._jobs.submit() for _ in range(n - len(leaving[:n]))]
        self._strangers |= set(new)
        self._say(f"{n} more, {len(new)} of them new jobs: {_listed(new)}")

    def _shrink(self, staying: list[_Crew], n: int) -> None:
        """Ends jobs without a worker, and lets other workers finish what they run."""
        # A job whose worker was there before may be at a trial, though nobody sees it at the moment: it is left alone.
        seen = [crew for crew in staying if crew.workers or crew.job.job_id not in self._begun]
        chosen = {job.job_id for job in first_to_go((crew.job for crew in seen), n)}
        crews = [crew for crew in seen if crew.job.job_id in chosen]
        self._end([crew for crew in crews if not crew.workers])
        for crew in crews:
            self._let(self._office.drain_worker, crew.names)
            self._drained_at |= dict.fromkeys(crew.names, self._clock())
        self._say(f"{n} fewer: {_listed(chosen)}")

    def _end(self, crews: list[_Crew]) -> None:
        job_ids = [crew.job.job_id for crew in crews]
        self._jobs.cancel(job_ids)
        self._strangers -= set(job_ids)
        self._ended |= {worker.name: crew.job.job_id for crew in crews for worker in crew.workers}

    def _forget(self, jobs: Iterable[str]) -> None:
        """No other worker is ever called as one that has gone: the list of drained ones does not grow."""
        gone = [name for name, job_id in self._ended.items() if job_id not in jobs]
        self._let(self._office.undrain_worker, gone)
        for name in gone:
            del self._ended[name]

    def _let(self, change: Callable[[str], Drain], names: Iterable[str]) -> None:
        for name in names:
            with suppress(NotFoundError):  # it is gone already
                change(name)

    def _say_carbon(self, seen: Seen) -> None:
        dirty = is_dirty(seen, self._rules)
        if dirty != self._was_dirty:
            self._say(f"carbon intensity {seen.grams_per_kwh} g/kWh: {self._rules.when_dirty if dirty else 'as usual'}")
        self._was_dirty = dirty


class _HopelessError(ServiceError):
    """Trying again would only fill the batch system."""


def _listed(job_ids: Iterable[str]) -> str:
    return ", ".join(sorted(job_ids)) or "none"
