"""What a study has spent, and whether that reaches its budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from service.ledger import reports_of
from service.schema import Budget
from service.store import Event
from worker.schema import TrialResult

_ATTEMPT_ENDED = ("attempt_finished", "late_result")


@dataclass
class Spent:
    """Totals of a study so far; unknown energies count as nothing.

    Attributes:
        n_trials: evaluations begun or waiting, the default configuration's included.
        wall_seconds: during which a coordinator ran the study.
    """

    n_trials: int = 0
    wall_seconds: float = 0.0
    energy_joules: float = 0.0
    emissions_grams: float = 0.0

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> Spent:
        """The totals that a study's log adds up to; a run that was cut off lasted until the last thing it did."""
        spent = cls()
        started: datetime | None = None
        latest: datetime | None = None
        for event in events:
            if event.kind.startswith("study_"):
                ended = latest if event.kind == "study_running" else event.at
                spent.wall_seconds += _seconds(started, ended)
                started, latest = (event.at if event.kind == "study_running" else None), None
            elif event.kind.startswith(("trial_", "attempt_")):
                latest = event.at
            if event.kind == "trial_added":
                spent.n_trials += 1
            elif event.kind in _ATTEMPT_ENDED:
                spent.add(TrialResult.model_validate(event.payload["result"]))
        spent.wall_seconds += _seconds(started, latest)
        return spent

    def add(self, result: TrialResult) -> None:
        """Counts what one attempt spent, whatever became of it."""
        for report in reports_of(result):
            self.energy_joules += report.joules or 0.0
            self.emissions_grams += report.emissions_grams or 0.0

    def reaches(self, budget: Budget, running_seconds: float = 0.0) -> bool:
        """Whether any limit is reached, `running_seconds` after these totals were taken."""
        no_more_trials = budget.n_trials is not None and self.n_trials >= budget.n_trials
        return no_more_trials or self.overruns(budget, running_seconds)

    def overruns(self, budget: Budget, running_seconds: float = 0.0) -> bool:
        """Whether a limit of time, energy or emissions is reached: trials that wait are not begun any more."""
        pairs = (
            (self.wall_seconds + running_seconds, budget.wall_seconds),
            (self.energy_joules, budget.energy_joules),
            (self.emissions_grams, budget.emissions_grams),
        )
        return any(limit is not None and value >= limit for value, limit in pairs)


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return 0.0 if start is None or end is None else (end - start).total_seconds()
