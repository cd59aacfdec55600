"""Lets the scheduler know how many workers studies have work for, so that it can tell whoever starts some."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Iterable

from service.scaling import Rules, Seen, n_wanted, to_do
from service.schema import StudyState
from service.store import Store, WorkerStatus

_TO_RUN = (StudyState.WAITING, StudyState.RUNNING)
# The Dask operator asks as often.
_TELL_SECONDS = 5.0


def demand(found: Iterable[WorkerStatus], drained: Collection[str], studies: Iterable[tuple[int, int]]) -> int:
    """How many workers there should be, those that leave included.

    Args:
        found: all workers.
        drained: names of those that get no new trial.
        studies: of each that is to run, the trials that run and those that wait.
    """
    workers = list(found)
    leaving = [worker for worker in workers if worker.name in drained]
    n_running, n_waiting = to_do(studies)
    staying = Seen(
        0.0,
        n_running=max(0, n_running - sum(worker.n_running for worker in leaving)),
        n_waiting=n_waiting,
        n_ready=len(workers) - len(leaving),
    )
    return len(leaving) + n_wanted(staying, Rules(maximum=sys.maxsize))


class Demand:
    """Tells the scheduler of a cluster what the studies of a store want.

    By itself it knows of trials that it was sent, and coordinators send no more than there are workers for.

    Args:
        store: of the studies.
        want: makes the scheduler want so many workers.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, want: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._want, self._clock = store, want, clock
        self._due = -math.inf

    def tell(self, found: Iterable[WorkerStatus], drained: Collection[str]) -> None:
        """Tells it, from time to time.

        Args:
            found: all workers.
            drained: names of those that get no new trial.
        """
        if self._clock() < self._due:
            return
        self._due = self._clock() + _TELL_SECONDS
        to_run = {study.study_id for state in _TO_RUN for study in self._store.studies(state)}
        n_trials = self._store.n_trials_of_all(to_run)
        counts = [n_trials.get(study_id, {}) for study_id in to_run]
        self._want(demand(found, drained, [(n.get("running", 0), n.get("waiting", 0)) for n in counts]))
