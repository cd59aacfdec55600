"""What a config promises at full fidelity: the expected growth of the hypervolume, in logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from smac.acquisition.function import AbstractAcquisitionFunction

from service.optimizer.improvement import boxes, log_improvement, probability
from service.optimizer.known import Known
from service.optimizer.surrogate import Surrogate

Array = NDArray[np.float64]


class HypervolumeImprovement(AbstractAcquisitionFunction):
    """Logarithm of the expected hypervolume improvement at full fidelity.

    Args:
        full: full fidelity.
        known: objectives that need no model.
    """

    def __init__(self, full: float, known: Known) -> None:
        super().__init__()
        self._full, self._known = full, known
        self._centre = self._spread = np.empty(0)
        self._lower = self._upper = np.empty((0, 0))

    @property
    def name(self) -> str:
        return "Expected hypervolume improvement"

    def _update(self, **kwargs: Any) -> None:
        """Takes `front` (n, objectives) and `reference` (objectives,) in the scale of the model, and that scale.

        `centre` and `spread` (objectives,) are what costs of 0 and of 1 more stand for.
        """
        self._centre, self._spread = kwargs["centre"], kwargs["spread"]
        self._lower, self._upper = boxes(kwargs["front"], kwargs["reference"])

    def _compute(self, X: Array) -> Array:  # noqa: N803 - SMAC's name
        return self.values(X)[:, None]

    def values(self, vectors: Array) -> Array:
        """(n,) values, all objectives modelled."""
        return log_improvement(*self._expected(vectors), self._lower, self._upper)

    def exact(self, vectors: Array) -> Array:
        """(n,) values with the known objectives computed: dearer, and what counts in the end."""
        return log_improvement(*self._settled(vectors), self._lower, self._upper)

    def probability(self, vector: Array) -> float:
        """That the config improves the front at all."""
        return float(probability(*self._settled(vector[None]), self._lower, self._upper)[0])

    def _settled(self, vectors: Array) -> tuple[Array, Array]:
        means, deviations = self._expected(vectors)
        if columns := self._known.columns:
            costs = self._known.costs(vectors)
            means[:, columns] = (costs - self._centre[columns]) / self._spread[columns]
            deviations[:, columns] = 0.0
        return means, deviations

    def _expected(self, vectors: Array) -> tuple[Array, Array]:
        assert isinstance(self._model, Surrogate)
        return self._model.expect(with_fidelity(vectors, self._full))


def with_fidelity(vectors: Array, fidelity: float) -> Array:
    """Rows for the model: the vectors with a fidelity."""
    return np.hstack([vectors, np.full((len(vectors), 1), fidelity)])
