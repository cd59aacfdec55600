"""Configs as arrays: what ConfigSpace makes of them, and what a model with distances can use."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, Configuration, ConfigurationSpace, Constant, OrdinalHyperparameter
from ConfigSpace.conditions import Condition
from ConfigSpace.hyperparameters import IntegerHyperparameter
from numpy.typing import NDArray
from scipy.stats import qmc

from service.optimizer.runhistory import SettledConfiguration

Array = NDArray[np.float64]
# A space of so few configs is looked at whole.
MAX_LISTED = 4000
# What stands for a hyperparameter that is not active: the same for all configs, so that it makes no distance.
_INACTIVE = 0.5


class Encoding:
    """A space's configs as rows of arrays.

    `vectors` (n, hyperparameters) are ConfigSpace's: numbers in [0, 1], the index of a choice, NaN where not active.
    `features` (n, columns) are those of a model: choices become one column for each, half as far from each other as
    the ends of a number are, squared distances added.

    Args:
        space: of the configs.

    Attributes:
        groups: of each column of the features, the hyperparameter that it belongs to.
    """

    def __init__(self, space: ConfigurationSpace) -> None:
        self._space = space
        self._hyperparameters = list(space.values())
        self._n_choices = [_n_choices(hp) for hp in self._hyperparameters]
        self._is_integer = [isinstance(hp, IntegerHyperparameter) for hp in self._hyperparameters]
        self._constants = {
            i: float(hp.to_vector(hp.value)) for i, hp in enumerate(self._hyperparameters) if isinstance(hp, Constant)
        }
        self._conditions = [(condition, self._child(condition)) for condition in space.conditions]
        self._has_prior = any(_has_prior(hp) for hp in self._hyperparameters)
        self.groups = np.array(
            [i for i, hp in enumerate(self._hyperparameters) for _ in range(self._n_columns(i, hp))], dtype=np.intp
        )

    def _n_columns(self, i: int, hp: object) -> int:
        return self._n_choices[i] if isinstance(hp, CategoricalHyperparameter) else 1

    def _child(self, condition: Any) -> int:
        child = condition.child if isinstance(condition, Condition) else condition.get_children()[0]
        return self._space.index_of[child.name]

    def features(self, vectors: Array) -> Array:
        """Rows (n, columns) for a model."""
        columns: list[Array] = []
        for i, hp in enumerate(self._hyperparameters):
            column = vectors[:, i]
            if isinstance(hp, CategoricalHyperparameter):
                columns.append((column[:, None] == np.arange(self._n_choices[i])) * np.sqrt(0.5))
            elif isinstance(hp, OrdinalHyperparameter):
                columns.append(_filled(column / max(1, self._n_choices[i] - 1))[:, None])
            else:
                columns.append(_filled(column)[:, None])
        return np.hstack(columns)

    def spread(self, n: int, seed: int) -> Array:
        """Up to `n` vectors spread over the space (Sobol; sampled where hyperparameters have priors)."""
        if self._has_prior:
            return self.sample(n, np.random.RandomState(seed))
        unit = qmc.Sobol(len(self._hyperparameters), seed=seed).random_base2(max(3, int(np.ceil(np.log2(2 * n)))))
        for i, n_choices in enumerate(self._n_choices):
            if n_choices:
                unit[:, i] = np.minimum(np.floor(unit[:, i] * n_choices), n_choices - 1)
        return self._legal(unit)[:n]

    def sample(self, n: int, random: np.random.RandomState) -> Array:
        """Up to `n` vectors as the space's priors say."""
        return self._legal(self._raw(2 * n if self._space.forbidden_clauses else n, random))[:n]

    def any(self, n: int, random: np.random.RandomState) -> Array:
        """`n` vectors that ConfigSpace samples: slower, also where most of the space is forbidden."""
        self._space.seed(int(random.randint(2**31)))
        return np.array([config.get_array() for config in self._space.sample_configuration(max(2, n))])

    def near(self, vectors: Array, n: int, scale: float, random: np.random.RandomState) -> Array:
        """Up to `n` vectors, each with one or more hyperparameters of a row of `vectors` changed, within their ranges.

        Args:
            vectors: where to look around.
            n: how many to try.
            scale: standard deviation of the change of a number.
            random: changes by side effect.
        """
        origins = vectors[random.randint(len(vectors), size=n)]
        fresh = self._raw(n, random)
        # An inactive one may become active.
        changed = np.where(np.isnan(origins), fresh, origins)
        n_dims = len(self._hyperparameters)
        mask = random.rand(n, n_dims) < max(1.5 / n_dims, 0.1)
        mask[np.arange(n), random.randint(n_dims, size=n)] = True
        steps = scale * random.randn(n, n_dims)
        for i, n_choices in enumerate(self._n_choices):
            rows = mask[:, i]
            if n_choices:
                changed[rows, i] = self._other_choice(i, changed[rows, i], fresh[rows, i], random)
            else:
                changed[rows, i] = self._moved(i, changed[rows, i], steps[rows, i])
        return self._legal(changed)

    def listed(self) -> Array | None:
        """All vectors of the space where it is finite and small; else None."""
        size = self._space.estimate_size()
        if not np.isfinite(size) or size > MAX_LISTED:
            return None
        values = [self._values(i) for i in range(len(self._hyperparameters))]
        return unique(self._legal(np.array(list(product(*values)), dtype=np.float64)))

    def _values(self, i: int) -> Array:
        """All that a hyperparameter of few values may be, as a column holds it."""
        hp = self._hyperparameters[i]
        if isinstance(hp, IntegerHyperparameter):
            n = int(hp.size)
            return np.asarray(hp.to_vector(np.arange(n) + int(hp.to_value(0.0))), dtype=np.float64)
        return np.arange(max(1, self._n_choices[i]), dtype=np.float64)

    def configuration(self, vector: Array) -> SettledConfiguration:
        """The config of one vector, with the array that its values give: a log keeps values, and these are rounded."""
        values = dict(Configuration(self._space, vector=vector))
        return SettledConfiguration(self._space, vector=Configuration(self._space, values=values).get_array())

    def _raw(self, n: int, random: np.random.RandomState) -> Array:
        return np.column_stack([hp.sample_vector(n, seed=random) for hp in self._hyperparameters])

    def _other_choice(self, i: int, now: Array, fresh: Array, random: np.random.RandomState) -> Array:
        """Neighbours on an ordered scale, anything else in a set of choices."""
        if isinstance(self._hyperparameters[i], OrdinalHyperparameter):
            return np.asarray(np.clip(now + random.choice([-1, 1], size=len(now)), 0, self._n_choices[i] - 1))
        shifted = (now + 1 + random.randint(max(1, self._n_choices[i] - 1), size=len(now))) % self._n_choices[i]
        return np.asarray(np.where(fresh == now, shifted, fresh))

    def _moved(self, i: int, now: Array, steps: Array) -> Array:
        if not self._is_integer[i]:
            # Also exactly to an end, where the best often is.
            return np.asarray(np.clip(now + steps, 0, 1))
        # To the next whole number at least, and back from the ends, as there is none beyond.
        least = 1.001 / max(1, int(self._hyperparameters[i].size) - 1)
        steps = np.sign(steps) * np.maximum(np.abs(steps), least)
        return np.asarray(np.clip(np.abs(1 - np.abs(1 - (now + steps))), 0, 1))

    def _legal(self, vectors: Array) -> Array:
        """Whole numbers where they must be, inactive ones as NaN, forbidden rows left out."""
        columns = vectors.T.copy()
        for i, is_integer in enumerate(self._is_integer):
            if is_integer:
                hp = self._hyperparameters[i]
                columns[i] = hp.to_vector(hp.to_value(columns[i]))
        for i, value in self._constants.items():
            columns[i] = value
        # A child of a child needs another pass.
        for _ in self._conditions:
            before = np.isnan(columns).sum()
            for condition, child in self._conditions:
                columns[child, ~condition.satisfied_by_vector_array(columns)] = np.nan
            if np.isnan(columns).sum() == before:
                break
        forbidden = np.zeros(columns.shape[1], dtype=bool)
        for clause in self._space.forbidden_clauses:
            forbidden |= clause.is_forbidden_vector_array(columns)
        return np.ascontiguousarray(columns[:, ~forbidden].T)


def keys(vectors: Array) -> list[bytes]:
    """Tell vectors apart; NaN equals NaN."""
    return [row.tobytes() for row in np.round(np.where(np.isnan(vectors), -1.0, vectors), 7) + 0.0]


def unique(vectors: Array) -> Array:
    """Each row once, in the order of their first appearance."""
    first: dict[bytes, int] = {}
    for i, key in enumerate(keys(vectors)):
        first.setdefault(key, i)
    return vectors[list(first.values())]


def _filled(column: Array) -> Array:
    return np.nan_to_num(column, nan=_INACTIVE)


def _n_choices(hp: object) -> int:
    if isinstance(hp, CategoricalHyperparameter):
        return len(hp.choices)
    return len(hp.sequence) if isinstance(hp, OrdinalHyperparameter) else 0


def _has_prior(hp: object) -> bool:
    if isinstance(hp, CategoricalHyperparameter):
        return len(set(hp.probabilities)) > 1
    return not type(hp).__name__.startswith(("Uniform", "Ordinal", "Constant"))
