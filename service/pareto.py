"""Dominance, fronts and hypervolume over arrays of costs, where less is better."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]


def dominates(a: Costs, b: Costs) -> bool:
    """Whether `a` (objectives,) is nowhere worse than `b` and somewhere better."""
    return bool(np.all(a <= b) and np.any(a < b))


def front(costs: Costs) -> NDArray[np.bool_]:
    """Which rows of `costs` (rows, objectives) no other row dominates; equal rows all count."""
    if len(costs) == 0:
        return np.zeros(0, dtype=bool)
    kept: NDArray[np.bool_] = moocore.is_nondominated(costs, keep_weakly=True)
    return kept


def reference_point(costs: Costs) -> Costs:
    """A point (objectives,) that every row is better than: the worst value of each, a tenth of its range further.

    Where all values are one, it is a tenth of that value further, in whatever unit, and of zero 0.1. The point moves
    with the rows: volumes of other rows are comparable with these only from one and the same point.
    """
    worst, best = costs.max(axis=0), costs.min(axis=0)
    scale = np.where(worst == 0, 1.0, np.abs(worst))
    point: Costs = worst + 0.1 * np.where(worst > best, worst - best, scale)
    # A range may be less than what the number can tell apart.
    further: Costs = np.maximum(point, np.nextafter(worst, np.inf))
    return further


def hypervolume(costs: Costs, reference: Costs) -> float:
    """Volume between the front of `costs` (rows, objectives) and the `reference` point, in their units' product."""
    inside = costs[np.all(costs < reference, axis=1)] if len(costs) else costs
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0
