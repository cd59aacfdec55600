"""What final trainings came to: the test errors of each network that was judged."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.schema import Trial
from worker.schema import TrialResult

# The results of final trainings by trial and seed.
Finals = Mapping[tuple[str, int], TrialResult]


@dataclass(frozen=True)
class FinalScore:
    """One network of the front after its final trainings.

    Attributes:
        trial: whose config it is.
        errors: on the test split, one a seed that completed.
    """

    trial: Trial
    errors: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Mean test error, 0..1; None where no training completed."""
        return statistics.mean(self.errors) if self.errors else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the test errors; None of fewer than two."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None

    @property
    def said(self) -> str:
        """The mean and its deviation, such as `0.0412 ± 0.0021`, or `unknown`."""
        deviation = "" if self.deviation is None else f" ± {self.deviation:.4f}"
        return "unknown" if self.mean is None else f"{self.mean:.4f}{deviation}"


def score(trial: Trial, results: Finals) -> FinalScore:
    """What the final trainings of `trial` came to, in the order of their seeds."""
    return FinalScore(trial, tuple(_errors(trial, results)))


def _errors(trial: Trial, results: Finals) -> Iterable[float]:
    for (trial_id, _), result in sorted(results.items()):
        measured = result.objectives.get("error")
        if trial_id == trial.trial_id and measured is not None and measured.value is not None:
            yield measured.value
