"""What is known of a study's trials, as arrays that grow: configs, fidelities, costs, and what is outstanding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.optimizer.encoding import keys

Array = NDArray[np.float64]


@dataclass
class Archive:
    """Trials in the order in which they were told, and those that are outstanding.

    Attributes:
        vectors: of the told trials, ConfigSpace's.
        fidelities: of the told trials.
        costs: of each told trial, less is better; NaN throughout where it failed.
        prices: what each told trial has taken, in any unit; NaN is unknown or of a failure, which ends sooner.
        promoted: whether each told trial's config had been tried at a lower fidelity.
        pending: outstanding trials.
    """

    vectors: list[Array] = field(default_factory=list)
    fidelities: list[float] = field(default_factory=list)
    costs: list[list[float]] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)
    promoted: list[bool] = field(default_factory=list)
    pending: dict[tuple[bytes, float], Array] = field(default_factory=dict)
    _tried: dict[bytes, dict[float, list[float] | None]] = field(default_factory=dict)
    _n_asked: Counter[float] = field(default_factory=Counter)
    _n_told: Counter[float] = field(default_factory=Counter)
    _n_lost: Counter[float] = field(default_factory=Counter)
    _good: list[Array] = field(default_factory=lambda: [np.empty(0)] * 3)
    _n_read: int = 0

    def begin(self, vector: Array, fidelity: float) -> None:
        """A trial is outstanding."""
        (key,) = keys(vector[None])
        self.pending[key, fidelity] = vector
        self._tried.setdefault(key, {})[fidelity] = None
        self._n_asked[fidelity] += 1

    def end(self, vector: Array, fidelity: float, costs: list[float] | None, price: float | None) -> None:
        """A trial was told; None for `costs` is a failure."""
        (key,) = keys(vector[None])
        before = self._tried[key]
        before[fidelity] = costs
        self.pending.pop((key, fidelity), None)
        self.vectors.append(vector)
        self.fidelities.append(fidelity)
        self.costs.append(costs if costs is not None else [np.nan])
        self._n_told[fidelity] += 1
        self._n_lost[fidelity] += costs is None
        self.prices.append(np.nan if price is None or costs is None else price)
        self.promoted.append(any(f < fidelity for f in before))

    @property
    def n(self) -> int:
        """How many trials were told."""
        return len(self.fidelities)

    @property
    def n_asked(self) -> int:
        return self.n + len(self.pending)

    @property
    def n_good(self) -> int:
        """How many of the told trials did not fail."""
        return self.n - self._n_lost.total()

    def n_asked_at(self, fidelity: float) -> int:
        """How many trials were asked for at this fidelity."""
        return self._n_asked[fidelity]

    def fidelities_of(self, vector: Array) -> Collection[float]:
        """All at which the config was asked for."""
        return self._tried.get(keys(vector[None])[0], {}).keys()

    def pairs(self, low: float, high: float) -> tuple[Array, Array]:
        """Costs of the configs that were told at both fidelities, (n, objectives) each."""
        both = [(c[low], c[high]) for c in self._tried.values() if c.get(low) is not None and c.get(high) is not None]
        return np.array([a for a, _ in both]), np.array([b for _, b in both])

    def first(self, n: int) -> Archive:
        """What was known when `n` trials had been told."""
        return Archive(self.vectors[:n], self.fidelities[:n], self.costs[:n], self.prices[:n], self.promoted[:n])

    def n_asked_at_both(self, low: float, high: float) -> int:
        """How many configs were asked for at both fidelities."""
        return sum(low in tried and high in tried for tried in self._tried.values())

    def untried(self, vectors: Array, fidelity: float) -> Array:
        """The rows that were not asked for at this fidelity."""
        return vectors[[fidelity not in self._tried.get(key, ()) for key in keys(vectors)]]

    def good(self) -> tuple[Array, Array, Array]:
        """Vectors, fidelities and costs of the trials that did not fail; not to be changed."""
        new = [i for i in range(self._n_read, self.n) if not math.isnan(self.costs[i][0])]
        self._n_read = self.n
        if new:
            told = [np.array([column[i] for i in new]) for column in (self.vectors, self.fidelities, self.costs)]
            is_first = not len(self._good[0])
            self._good = told if is_first else [np.concatenate(both) for both in zip(self._good, told, strict=True)]
        vectors, fidelities, costs = self._good
        return vectors, fidelities, costs

    def n_told_at(self, fidelity: float) -> int:
        """How many trials were told at this fidelity."""
        return self._n_told[fidelity]

    def n_failed_at(self, fidelity: float) -> int:
        """How many of them failed."""
        return self._n_lost[fidelity]

    def failed(self) -> tuple[Array, Array]:
        """Vectors and fidelities of the trials that failed."""
        lost = [i for i, costs in enumerate(self.costs) if math.isnan(costs[0])]
        return np.array([self.vectors[i] for i in lost]), np.array([self.fidelities[i] for i in lost])
