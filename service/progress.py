"""Whether a study still gets anywhere: how many trials at full fidelity have come since the front got better."""

from __future__ import annotations

from collections.abc import Iterable

from service.ranking import comparable, front
from service.schema import StudySpec, Trial

# Of a study without fidelities.
_DEFAULT_RUNG = 3


class Progress:
    """Counts trials at full fidelity since the last one that no other dominated, which is a gain of hypervolume.

    Args:
        spec: of the study.
        trials: that it has already.
    """

    def __init__(self, spec: StudySpec, trials: Iterable[Trial] = ()) -> None:
        self._spec = spec
        self._rung = spec.fidelity.eta if spec.fidelity else _DEFAULT_RUNG
        self._best: list[Trial] = []
        self._n_since = 0
        for trial in sorted(trials, key=lambda trial: trial.seq):
            self.see(trial)

    def see(self, trial: Trial) -> None:
        """Takes in the next trial; only those that may be compared count."""
        if self._spec.budget.stalled_rungs is None or not comparable(self._spec, [trial]):
            return
        # Only what is on the front can dominate what comes.
        self._best = front(self._spec, [*self._best, trial])
        is_gain = any(t.trial_id == trial.trial_id for t in self._best)
        self._n_since = 0 if is_gain else self._n_since + 1

    @property
    def has_stalled(self) -> bool:
        """Whether as many rungs as the budget says have brought nothing."""
        limit = self._spec.budget.stalled_rungs
        return limit is not None and self._n_since >= limit * self._rung
