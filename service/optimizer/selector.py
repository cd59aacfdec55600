"""Trains the model on all that was told, believes what is outstanding, and proposes what promises most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import moocore
import numpy as np
from ConfigSpace import Configuration
from numpy.typing import NDArray
from smac.main.config_selector import ConfigSelector
from smac.scenario import Scenario

from service.optimizer.acquisition import HypervolumeImprovement
from service.optimizer.archive import Archive
from service.optimizer.maximizer import FrontSearch
from service.optimizer.surrogate import Surrogate

Array = NDArray[np.float64]
# Rows that the model is conditioned on: the best at full fidelity first, then the best below.
MAX_ROWS = 300
# The model needs so many that did not fail.
MIN_ROWS = 3
# Of the front's extent along each objective: how far beyond it the reference point lies, and what its middle is.
_MARGIN, _MIDDLE = 0.1, 0.6
# Of eight proposals the one whose reference point lies twice as far away as the worst there is.
_WIDE, _FAR = 2, 2.0
# Of a larger front so many make up what is to be improved: more would tell little, at the cost of time.
MAX_FRONT = 150
# Results that show what is usual: later ones lie where the search has gone.
_N_FIRST = 10


@dataclass(frozen=True)
class Lesson:
    """What the model learns from.

    Attributes:
        X: (n, hyperparameters + 1) vectors with their fidelities, the most telling first.
        Y: (n, objectives) scaled costs.
        front: (k, objectives) scaled costs of the front at full fidelity, at most `MAX_FRONT` spread over it.
        reference: (objectives,) a little beyond that front's worst, in the same scale.
        centre, spread: (objectives,) of the scale: costs are its values times `spread` plus `centre`.
    """

    X: Array
    Y: Array
    front: Array
    reference: Array
    centre: Array
    spread: Array


class FrontSelector(ConfigSelector):
    """Gives the config that promises most at full fidelity, each time anew.

    Args:
        scenario: SMAC's.
        archive: of what was tried.
        model: is trained here.
        acquisition: of the model.
        search: maximises it.
        full: full fidelity.
    """

    def __init__(
        self,
        scenario: Scenario,
        archive: Archive,
        model: Surrogate,
        acquisition: HypervolumeImprovement,
        search: FrontSearch,
        full: float,
    ) -> None:
        super().__init__(scenario)
        self._archive, self._surrogate, self._promise, self._search = archive, model, acquisition, search
        self._full = full
        self._n_fitted = 0

    def __iter__(self) -> Iterator[Configuration]:
        while True:
            self._learn()
            config = self._search.config()
            if config is None:
                return
            yield config

    def _learn(self) -> None:
        self._fit()
        now = lesson(self._archive, self._full)
        self._surrogate.train(now.X, now.Y)
        front = now.front
        if self._archive.pending:
            outstanding = np.array([np.append(row, f) for (_, f), row in self._archive.pending.items()])
            self._surrogate.believe(outstanding)
            in_full = outstanding[outstanding[:, -1] == self._full]
            if len(in_full):
                front = np.vstack([front, self._surrogate.expect(in_full)[0]])
        self._promise.update(
            self._surrogate, front=front, reference=now.reference, centre=now.centre, spread=now.spread
        )

    def _fit(self) -> None:
        n_fit = _n_fit(self._archive.n)
        if n_fit == self._n_fitted:
            return
        earlier = self._archive.first(n_fit)
        if len(earlier.good()[0]) < MIN_ROWS:
            n_fit, earlier = self._archive.n, self._archive.first(self._archive.n)
        if n_fit != self._n_fitted:
            learnt = lesson(earlier, self._full)
            self._surrogate.fit(learnt.X, learnt.Y)
            self._n_fitted = n_fit


def lesson(archive: Archive, full: float) -> Lesson:
    """Scaled costs: of mean zero and variance one at full fidelity, drawn together beyond the reference point.

    A trial that failed stands at the worst.
    """
    vectors, fidelities, costs = archive.good()
    is_full = fidelities == full
    base = costs[is_full] if is_full.sum() >= 3 else costs
    centre, spread = base.mean(axis=0), np.maximum(base.std(axis=0), 1e-12)
    scaled = (costs - centre) / spread
    at_full = scaled[is_full]
    front = at_full[moocore.is_nondominated(at_full)] if len(at_full) else at_full
    reference = _reference(front, at_full if len(at_full) else scaled, archive.n_asked)
    scaled = _squashed(scaled, reference)
    rows = _most_telling(scaled, is_full)
    x, y = np.hstack([vectors, fidelities[:, None]])[rows], scaled[rows]
    lost, lost_fidelities = archive.failed()
    # Where nothing ever succeeds, a failure says nothing about the config.
    is_telling = np.isin(lost_fidelities, [*fidelities, full])
    lost, lost_fidelities = lost[is_telling], lost_fidelities[is_telling]
    if len(lost):
        lost = np.hstack([lost, lost_fidelities[:, None]])[-MAX_ROWS // 4 :]
        x, y = np.vstack([x, lost]), np.vstack([y, np.tile(scaled.max(axis=0), (len(lost), 1))])
    return Lesson(x, y, front[spread_out(front, MAX_FRONT)], reference, centre, spread)


def spread_out(points: Array, n: int) -> NDArray[np.intp]:
    """At most `n` rows of `points`: those of the greatest values, then always the one farthest from all before.

    Args:
        points: (k, objectives), in one scale.
        n: at least the number of objectives.
    """
    if len(points) <= n:
        return np.arange(len(points))
    chosen = list(dict.fromkeys(np.argmax(points, axis=0).tolist()))
    distances = np.min([np.sum((points - points[i]) ** 2, axis=1) for i in chosen], axis=0)
    while len(chosen) < n:
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.sum((points - points[chosen[-1]]) ** 2, axis=1))
    return np.array(chosen)


def _reference(front: Array, rows: Array, n_asked: int) -> Array:
    """A little beyond the worst of the front; at every second proposal closer, so that the middle has its share.

    Seen from far away the ends of a front promise most, again and again, though few want them. Once in eight proposals
    they are looked for on purpose: from close by a front that found one end would never see the other. A front that is
    a point or a corner still leaves half of the first results within.

    Args:
        front: (k, objectives), of the rows.
        rows: (n, objectives), all at full fidelity, the earliest first.
        n_asked: how many trials were asked for.
    """
    best = rows.min(axis=0)
    usual = np.median(rows[:_N_FIRST], axis=0) - best
    extent = np.maximum((front if len(front) >= 2 else rows).max(axis=0) - best, usual)
    if n_asked % 8 == _WIDE:
        extent = _FAR * np.maximum(extent, rows.max(axis=0) - best)
    extent *= _MIDDLE if n_asked % 2 else 1.0
    return np.asarray(best + extent + _MARGIN * np.maximum(extent, 1e-6))


def _squashed(scaled: Array, reference: Array) -> Array:
    """What is worse than the reference point adds nothing, however bad it is: drawn together by its logarithm."""
    beyond = np.maximum(scaled - reference, 0)
    return np.where(beyond > 0, reference + np.log1p(beyond), scaled)


def _most_telling(scaled: Array, is_full: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows at full fidelity first, then by front, the latest first."""
    rank = np.zeros(len(scaled))
    for part in (is_full, ~is_full):
        if part.any():
            rank[part] = moocore.pareto_rank(scaled[part])
    return np.lexsort((-np.arange(len(scaled)), rank, ~is_full))[:MAX_ROWS]


def _n_fit(n: int) -> int:
    """Of how many trials the kernels were fitted last: of all up to 30, then again with every twentieth part more."""
    if n <= 30:
        return n
    fitted = 30
    while fitted + max(1, fitted // 20) <= n:
        fitted += max(1, fitted // 20)
    return fitted
