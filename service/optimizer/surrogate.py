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
# Of the kernel, where nothing is known: from the lowest fidelity to full, costs correlate by 0.92.
_FIDELITY_WEIGHT = 0.1
# Trials at full fidelity from which on it is asked whether low ones help to predict them.
MIN_FULL = 8


class Surrogate(AbstractModel):
    """Gaussian processes over config and fidelity, independent for each objective.

    SMAC's X has a column for each hyperparameter and one for the fidelity; its Y holds scaled costs.

    Args:
        space: of the configs.
        encoding: of the space.
        ladder: of the fidelities.
        modelled: columns of the costs that are not known without training: low fidelities must tell these.
        seed: SMAC's.
    """

    def __init__(
        self, space: ConfigurationSpace, encoding: Encoding, ladder: Ladder, modelled: list[int], seed: int
    ) -> None:
        super().__init__(space, {"fidelity": [ladder.full]}, pca_components=None, seed=seed)
        self._encoding, self._ladder, self._modelled = encoding, ladder, modelled
        self._groups = np.append(encoding.groups, encoding.groups.max(initial=-1) + 1)
        self._kernels: list[Kernel] = []
        # Of the rows at full fidelity alone, where there are enough of them and others beside.
        self._kernels_of_full: list[Kernel] = []
        self.processes: list[GaussianProcess] = []
        # Of each objective, whether low fidelities help to predict it.
        self.uses_low: list[bool] = []

    def fit(self, X: Array, Y: Array) -> None:  # noqa: N803 - SMAC's names
        """Fits the kernels, from the prior on: the same rows give the same kernels, whatever came before."""
        is_full = X[:, -1] == self._ladder.full
        self._kernels = self._fitted(X, Y)
        has_both = not is_full.all() and is_full.sum() >= MIN_FULL
        self._kernels_of_full = self._fitted(X[is_full], Y[is_full]) if has_both else []

    def _fitted(self, X: Array, Y: Array) -> list[Kernel]:  # noqa: N803
        x, usual = self._inputs(X[:MAX_FITTED]), np.append(np.ones(int(self._groups.max())), _FIDELITY_WEIGHT)
        return [fit(x, y, self._groups, usual) for y in Y[:MAX_FITTED].T]

    def _train(self, X: Array, Y: Array) -> Surrogate:  # noqa: N803
        if len(self._kernels) != Y.shape[1]:
            self.fit(X, Y)
        x, is_full = self._inputs(X), X[:, -1] == self._ladder.full
        self.processes, self.uses_low = [], []
        for j, y in enumerate(Y.T):
            process = GaussianProcess(x, y, self._groups, self._kernels[j])
            uses_low = True
            if self._kernels_of_full:
                alone = GaussianProcess(x[is_full], y[is_full], self._groups, self._kernels_of_full[j])
                uses_low = _evidence(process, is_full) > _evidence(alone, np.ones(len(alone.y), dtype=bool))
                process = process if uses_low else alone
            self.processes.append(process)
            self.uses_low.append(uses_low)
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
        if not all(self.uses_low[j] for j in self._modelled):
            return 0.0
        here, there = (self._inputs(np.append(vector, f)[None]) for f in (fidelity, self._ladder.full))
        told = (self.processes[j].correlation(here, there) for j in self._modelled)
        return min((abs(float(correlation[0])) for correlation in told), default=0.0)

    def _inputs(self, X: Array) -> Array:  # noqa: N803
        return np.hstack([self._encoding.features(X[:, :-1]), self._ladder.place(X[:, -1])[:, None]])

    @property
    def meta(self) -> dict[str, Any]:
        return {"name": type(self).__name__}


def _evidence(process: GaussianProcess, rows: NDArray[np.bool_]) -> float:
    """Mean logarithmic density of these observations, each predicted from all others."""
    means, deviations = process.left_out()
    z = (process.y - means) / deviations
    return float((-0.5 * z * z - np.log(deviations))[rows].mean())
