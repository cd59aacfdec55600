"""Which configs of a rung go on to the next: whole fronts, the best first, the last one thinned out evenly."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray


def pick_spread(costs: NDArray[np.float64], n: int) -> list[int]:
    """Indices of the `n` best rows of `costs` (rows, objectives), less is better, by front and then by spread.

    No row is picked before one that dominates it.
    """
    ranks = moocore.pareto_rank(costs)
    picked: list[int] = []
    for rank in np.unique(ranks):
        front = np.flatnonzero(ranks == rank)
        if len(picked) + len(front) > n:
            front = front[np.argsort(-_crowding(costs[front]), kind="stable")][: n - len(picked)]
        picked.extend(int(i) for i in front)
        if len(picked) == n:
            break
    return picked


def _crowding(front: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each row's neighbours along every objective (Deb et al., NSGA-II, 2002); the ends are infinite."""
    distance = np.zeros(len(front))
    for values in front.T:
        order = np.argsort(values, kind="stable")
        span = values[order[-1]] - values[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0:
            distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / span
    return distance
