"""Configs as columns of numbers, one block for each hyperparameter, in which an inactive value says nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Column:
    """One hyperparameter.

    Attributes:
        values: (trials, width): a number as it is, anything else one column for each of its values.
        is_active: (trials,): the others got a value of an active trial, drawn by chance. That a hyperparameter is
            inactive follows from another one, which has a column of its own.
    """

    name: str
    values: NDArray[np.float64]
    is_active: NDArray[np.bool_]


def columns(configs: Sequence[dict[str, Any]], rng: np.random.Generator) -> list[Column]:
    """The hyperparameters that take several values where they are active, by name.

    Args:
        configs: of the trials; None is as good as missing.
        rng: draws for inactive values.
    """
    names = sorted({name for config in configs for name in config})
    found = (_column(name, [config.get(name) for config in configs], rng) for name in names)
    return [column for column in found if column is not None]


def _column(name: str, values: list[Any], rng: np.random.Generator) -> Column | None:
    is_active = np.array([value is not None for value in values])
    active = [value for value in values if value is not None]
    keys = sorted({json.dumps(value) for value in active})
    if len(keys) < 2:
        return None
    filled = [value if value is not None else active[rng.integers(len(active))] for value in values]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in active):
        return Column(name, np.array(filled, dtype=float).reshape(-1, 1), is_active)
    codes = np.array([keys.index(json.dumps(value)) for value in filled])
    return Column(name, np.eye(len(keys))[codes], is_active)
