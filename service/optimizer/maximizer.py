"""Finds the config that promises most: near the front, far from it, or among all where a space is small."""

from __future__ import annotations

import moocore
import numpy as np
from ConfigSpace import Configuration, ConfigurationSpace
from numpy.typing import NDArray
from smac.acquisition.maximizer import AbstractAcquisitionMaximizer

from service.optimizer.acquisition import HypervolumeImprovement
from service.optimizer.archive import Archive
from service.optimizer.encoding import Encoding

Array = NDArray[np.float64]
N_SAMPLED = 400
# Standard deviations of the changes of a number, in the rounds of the search.
_FIRST_SCALES = (0.1, 0.02)
_SCALES = (0.1, 0.03, 0.01, 0.003)
_N_TOP = 5
_N_NEAR = 100
# For so many of the best what is known of objectives is computed.
_N_EXACT = 30
# Of eight proposals those that are looked for everywhere, one of them the selector's wide one; the others near the
# front: far away a model of many hyperparameters is uncertain rather than promising.
_EVERYWHERE = (2, 5)
# For these a few numbers of the fronts' configs change this widely as well: the next piece of a front in pieces shares
# most of its values with the piece that is known.
_LEAP = 0.5
# Trials below full fidelity that may be promoted.
MAX_BELOW = 300


class FrontSearch(AbstractAcquisitionMaximizer):
    """Random configs and neighbours of the best ones, then closer neighbours of those that promise most.

    Args:
        space: of the configs.
        encoding: of the space.
        archive: of what was tried.
        full: full fidelity; what was asked for there is not proposed again.
        acquisition_function: what is maximised.
        seed: of everything random, together with the number of trials asked for.
    """

    def __init__(
        self,
        space: ConfigurationSpace,
        encoding: Encoding,
        archive: Archive,
        full: float,
        acquisition_function: HypervolumeImprovement,
        seed: int,
    ) -> None:
        super().__init__(space, acquisition_function, challengers=1, seed=seed)
        self._encoding, self._archive, self._full, self._promise = encoding, archive, full, acquisition_function
        self._listed = encoding.listed()

    def _maximize(self, previous_configs: list[Configuration], n_points: int) -> list[tuple[float, Configuration]]:
        vector, value = self.best()
        return [] if vector is None else [(value, self._encoding.configuration(vector))]

    def config(self) -> Configuration | None:
        """The config of greatest value that was not tried at full fidelity; None where all were."""
        vector, _ = self.best()
        return None if vector is None else self._encoding.configuration(vector)

    def best(self) -> tuple[Array | None, float]:
        """The vector of greatest value that was not tried at full fidelity, and the value; None where all were."""
        # The same trials give the same proposal, also from an archive that was rebuilt.
        random = np.random.RandomState([self._seed, self._archive.n_asked])
        rows = self._archive.untried(self._first(random), self._full)
        if not len(rows):
            rows = self._archive.untried(self._encoding.any(N_SAMPLED, random), self._full)
        if not len(rows):
            return None, -np.inf
        if self._listed is not None:
            return self._best_of(rows)
        values = self._values(rows)
        for scale in _SCALES:
            top = np.argsort(-values, kind="stable")[:_N_TOP]
            near = self._archive.untried(self._encoding.near(rows[top], _N_NEAR, scale, random), self._full)
            rows, values = np.vstack([rows[top], near]), np.concatenate([values[top], self._values(near)])
        return self._best_of(rows[np.argsort(-values, kind="stable")[:_N_EXACT]])

    def _best_of(self, rows: Array) -> tuple[Array, float]:
        values = self._promise.exact(rows)
        best = int(np.argmax(values))
        return rows[best], float(values[best])

    def _first(self, random: np.random.RandomState) -> Array:
        if self._listed is not None:
            return self._listed
        parents, known = self._parents()
        is_everywhere = self._archive.n_asked % 8 in _EVERYWHERE
        scales = (*_FIRST_SCALES, _LEAP) if is_everywhere else _FIRST_SCALES
        near = [self._encoding.near(parents, N_SAMPLED // 2, scale, random) for scale in scales]
        everywhere = [self._encoding.sample(N_SAMPLED, random)] if is_everywhere else []
        return np.vstack([*everywhere, *near, known])

    def _parents(self) -> tuple[Array, Array]:
        """The best two fronts, at full fidelity if there is any, and what was tried below it."""
        vectors, fidelities, costs = self._archive.good()
        is_full = fidelities == self._full
        pool = is_full if is_full.any() else np.ones(len(vectors), dtype=bool)
        ranks = moocore.pareto_rank(costs[pool])
        # Of very many below, the latest.
        return vectors[pool][ranks <= np.unique(ranks)[:2].max()], vectors[~is_full][-MAX_BELOW:]

    def _values(self, vectors: Array) -> Array:
        return self._promise.values(vectors) if len(vectors) else np.empty(0)
