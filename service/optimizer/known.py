"""Objectives that are functions of the config: a model ranks the candidates, the best of which are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.optimizer.encoding import Encoding, keys
from service.optimizer.engine import plain

Array = NDArray[np.float64]


class Known:
    """Costs at full fidelity that need no evaluation.

    Args:
        encoding: of the space.
        functions: by the objective's column, from a config's values to its cost, of which less is better.
    """

    def __init__(self, encoding: Encoding, functions: Mapping[int, Callable[[dict[str, Any]], float]]) -> None:
        self._encoding, self._functions = encoding, functions
        self._costs: dict[bytes, list[float]] = {}

    @property
    def columns(self) -> list[int]:
        """Of the objectives."""
        return list(self._functions)

    def costs(self, vectors: Array) -> Array:
        """(n, known objectives), in the order of `columns`."""
        return np.array([self._of(key, row) for key, row in zip(keys(vectors), vectors, strict=True)])

    def _of(self, key: bytes, vector: Array) -> list[float]:
        if key not in self._costs:
            config = plain(self._encoding.configuration(vector))
            self._costs[key] = [function(config) for function in self._functions.values()]
        return self._costs[key]
