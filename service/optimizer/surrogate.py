"""What is expected of configs at a fidelity, with uncertainty: one Gaussian process for each objective."""

from __future__ import annotations

from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray
from smac.model import AbstractModel

from service.optimizer.encoding import Encoding
from service.optimizer.gaussian_process import GaussianProcess, Kernel, fit
from service.optimizer.ladder import Ladder

Array = NDArray[np.float64]
# Rows that a kernel is fitted to; fitting takes time with their cube.
MAX_FITTED = 150


class Surrogate(AbstractModel):
    """Gaussian processes over config and fidelity, independent for each objective.

    SMAC's X has a column for each hyperparameter and one for the fidelity; its Y holds scaled costs.

    Args:
        space: of the configs.
        encoding: of the space.
        ladder: of the fidelities.
        seed: SMAC's.
    """

    def __init__(self, space: ConfigurationSpace, encoding: Encoding, ladder: Ladder, seed: int) -> None:
        super().__init__(space, {"fidelity": [ladder.full]}, pca_components=None, seed=seed)
        self._encoding, self._ladder = encoding, ladder
        self._groups = np.append(encoding.groups, encoding.groups.max(initial=-1) + 1)
        self.kernels: list[Kernel] = []
        self.processes: list[GaussianProcess] = []

    def fit(self, X: Array, Y: Array) -> None:  # noqa: N803 - SMAC's names
        """Fits the kernels, from the prior on: the same rows give the same kernels, whatever came before."""
        x, start = self._inputs(X[:MAX_FITTED]), Kernel.prior(int(self._groups.max()) + 1)
        self.kernels = [fit(x, y, self._groups, start) for y in Y[:MAX_FITTED].T]

    def _train(self, X: Array, Y: Array) -> Surrogate:  # noqa: N803
        if len(self.kernels) != Y.shape[1]:
            self.fit(X, Y)
        x = self._inputs(X)
        self.processes = [
            GaussianProcess(x, y, self._groups, kernel) for y, kernel in zip(Y.T, self.kernels, strict=True)
        ]
        return self

    def believe(self, X: Array) -> None:  # noqa: N803
        """Takes outstanding trials for told, each at what is expected of it."""
        if len(X):
            x = self._inputs(X)
            self.processes = [process.believing(x) for process in self.processes]

    def _predict(self, X: Array, covariance_type: str | None = "diagonal") -> tuple[Array, Array | None]:  # noqa: N803
        means, deviations = self.expect(X)
        return means, None if covariance_type is None else deviations**2

    def expect(self, X: Array) -> tuple[Array, Array]:  # noqa: N803
        """Means and standard deviations, (n, objectives) each."""
        x = self._inputs(X)
        both = [process.predict(x) for process in self.processes]
        return np.column_stack([mean for mean, _ in both]), np.column_stack([deviation for _, deviation in both])

    def correlation(self, vector: Array, fidelity: float) -> float:
        """How far the costs at `fidelity` would tell those at full fidelity: the least over objectives, 0 to 1."""
        here, there = (self._inputs(np.append(vector, f)[None]) for f in (fidelity, self._ladder.full))
        return min(abs(float(process.correlation(here, there)[0])) for process in self.processes)

    def _inputs(self, X: Array) -> Array:  # noqa: N803
        return np.hstack([self._encoding.features(X[:, :-1]), self._ladder.place(X[:, -1])[:, None]])

    @property
    def meta(self) -> dict[str, Any]:
        return {"name": type(self).__name__}
