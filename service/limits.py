"""When a study has had enough: what it has spent, and whether it still gets anywhere, against its budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from service.budget import Spent
from service.errors import ServiceError
from service.progress import Progress
from service.schema import StudySpec, Trial, TrialState
from service.store import Event
from worker.schema import TrialResult


class Limits:
    """A study's budget and how much of it is left; its time runs from here on.

    Args:
        spec: of the study.
        clock: monotonic seconds.
    """

    def __init__(self, spec: StudySpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._spec, self._clock = spec, clock
        self._started = clock()
        self._spent = Spent()
        self._progress = Progress(spec)

    def recover(self, events: Iterable[Event], trials: Iterable[Trial]) -> None:
        """Starts from what the study had spent and found before."""
        self._spent = Spent.from_events(events)
        self._progress = Progress(self._spec, trials)

    def add(self) -> None:
        """Counts a new trial."""
        self._spent.n_trials += 1

    def spend(self, result: TrialResult) -> None:
        """Counts what an attempt spent, whatever became of it."""
        self._spent.add(result)

    def see(self, trial: Trial) -> None:
        """Takes in a trial that has finished."""
        self._progress.see(trial)

    @property
    def has_room(self) -> bool:
        """Whether what the study had spent before leaves room for another trial."""
        return not self._spent.reaches(self._spec.budget)

    @property
    def is_spent(self) -> bool:
        """Whether no further trial is to be asked for."""
        return self._progress.has_stalled or self._spent.reaches(self._spec.budget, self._clock() - self._started)

    def n_more(self, n_wanted: int) -> int:
        """How many further trials are to be asked for, where `n_wanted` could be put to use."""
        if self.is_spent:
            return 0
        n_trials = self._spec.budget.n_trials
        return n_wanted if n_trials is None else min(n_wanted, n_trials - self._spent.n_trials)

    @property
    def is_overrun(self) -> bool:
        """Whether trials that wait are not to be begun any more."""
        return self._spent.overruns(self._spec.budget, self._clock() - self._started)

    def check(self, trial: Trial) -> None:
        """Ends a study that would never end: its budget is of energy, and energy is unknown here.

        Raises:
            ServiceError: the energy of a trial that completed is unknown, and nothing else is limited.
        """
        result = trial.result
        if result is None or trial.state is not TrialState.COMPLETED or not self._spec.budget.needs_energy:
            return
        if result.energy is None or result.energy.joules is None:
            flags = ", ".join(result.energy.flags) if result.energy else ""
            raise ServiceError(
                f"budget: the energy of trial {trial.trial_id} is unknown ({flags or 'nothing could be read'}), "
                "so energy alone would never end this study: add n_trials or wall_seconds"
            )
