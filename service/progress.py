"""Whether a study still gets anywhere: how many trials at full fidelity have come since the front got better."""

from __future__ import annotations

from collections.abc import Iterable

from service.ranking import comparable, costs, front
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
            if trial.state.is_finished:
                self.see(trial)

    def see(self, trial: Trial) -> None:
        """Takes in the next trial; those at full fidelity count, whatever came of them."""
        if self._spec.budget.stalled_rungs is None or not trial.is_full or trial.is_default:
            return
        self._n_since = 0 if self._is_gain(trial) else self._n_since + 1

    def _is_gain(self, trial: Trial) -> bool:
        """Whether a trial makes the front better; one that equals another does not."""
        if not comparable(self._spec, [trial]):
            return False
        before = {tuple(row) for row in costs(self._spec, self._best)}
        # Only what is on the front can dominate what comes.
        self._best = front(self._spec, [*self._best, trial])
        is_on_front = any(t.trial_id == trial.trial_id for t in self._best)
        return is_on_front and tuple(costs(self._spec, [trial])[0]) not in before

    @property
    def has_stalled(self) -> bool:
        """Whether as many rungs as the budget says have brought nothing."""
        limit = self._spec.budget.stalled_rungs
        return limit is not None and self._n_since >= limit * self._rung
