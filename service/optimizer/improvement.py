"""Expected hypervolume improvement in closed form, for independent normal predictions and any number of objectives."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

Array = NDArray[np.float64]
_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
_TINY = 1e-300


def boxes(front: Array, reference: Array) -> tuple[Array, Array]:
    """Disjoint boxes that make up all that is better than `reference` and that no row of `front` dominates.

    Less is better. The last objective is cut at each value of the front, and each slab is divided likewise (hypervolume
    by slicing objectives, While et al., 2006).

    Args:
        front: (n, objectives); n may be 0, and rows need not be better than the reference point.
        reference: (objectives,).

    Returns:
        Lower corners (some minus infinity) and upper corners, (boxes, objectives) each.
    """
    points = front[(front < reference).all(axis=1)]
    if len(points):
        points = points[moocore.is_nondominated(points)]
    lower, upper = _divide(points, reference)
    return np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64)


def _divide(points: Array, reference: Array) -> tuple[list[list[float]], list[list[float]]]:
    """As `boxes`, of points none of which dominates another."""
    if len(reference) == 1:
        return [[-np.inf]], [[min([reference[0], *points[:, 0]])]]
    if len(reference) == 2:
        stairs = points[np.argsort(points[:, 1])].tolist()
        cuts = [-np.inf, *(y for _, y in stairs), float(reference[1])]
        sides = [float(reference[0]), *(x for x, _ in stairs)]
        return [[-np.inf, cut] for cut in cuts[:-1]], [list(corner) for corner in zip(sides, cuts[1:], strict=True)]
    lower: list[list[float]] = []
    upper: list[list[float]] = []
    # A box that the next slab has as well goes on through it: of three objectives there are about as many boxes as
    # points, not as many as their square.
    begun: dict[tuple[tuple[float, ...], tuple[float, ...]], float] = {}
    cuts = [-np.inf, *np.unique(points[:, -1]), reference[-1]]
    for begin, end in zip(cuts, [*cuts[1:], None], strict=True):
        boxes_here = set() if end is None else _slab(points[points[:, -1] <= begin][:, :-1], reference[:-1])
        for box in [box for box in begun if box not in boxes_here]:
            lower.append([*box[0], begun.pop(box)])
            upper.append([*box[1], begin])
        for box in sorted(boxes_here.difference(begun)):
            begun[box] = begin
    return lower, upper


def _slab(inside: Array, reference: Array) -> set[tuple[tuple[float, ...], tuple[float, ...]]]:
    """The boxes of a slab, by all objectives but the one that it is cut along."""
    if len(inside) > 1:
        inside = inside[moocore.is_nondominated(inside)]
    return {(tuple(low), tuple(high)) for low, high in zip(*_divide(inside, reference), strict=True)}


def log_improvement(means: Array, deviations: Array, lower: Array, upper: Array) -> Array:
    """Logarithm of the expected growth of the hypervolume, for each of the predictions.

    The hypervolume that a point y adds is the sum over boxes of the product over objectives of
    max(0, upper - max(lower, y)). Of a normal y its expectation is that of the improvement over `upper` less that over
    `lower`. In logarithms it tells hopeless candidates apart too (Ament et al., 2023).

    Args:
        means: (n, objectives).
        deviations: likewise; 0 where the objective is known.
        lower: (boxes, objectives), of `boxes`.
        upper: likewise.

    Returns:
        (n,) values.
    """
    total = np.zeros((len(means), len(upper)))
    for j in range(means.shape[1]):
        corners, inverse = np.unique(np.concatenate([lower[:, j], upper[:, j]]), return_inverse=True)
        logs = _log_expected(means[:, j, None], deviations[:, j, None], corners)
        low, high = logs[:, inverse[: len(lower)]], logs[:, inverse[len(lower) :]]
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isneginf(low), 0.0, np.exp(np.minimum(low - high, 0)))
        total += high + np.log1p(-np.minimum(ratio, 1 - 1e-15))
    highest = total.max(axis=1, keepdims=True)
    finite = np.where(np.isfinite(highest), highest, 0.0)
    return np.asarray(finite[:, 0] + np.log(np.exp(total - finite).sum(axis=1) + _TINY))


def probability(means: Array, deviations: Array, lower: Array, upper: Array) -> Array:
    """(n,) probabilities that the hypervolume grows at all."""
    total = np.ones((len(means), len(upper)))
    for j in range(means.shape[1]):
        deviation = np.maximum(deviations[:, j, None], 1e-12)
        total *= ndtr((upper[:, j] - means[:, j, None]) / deviation) - ndtr(
            (lower[:, j] - means[:, j, None]) / deviation
        )
    return np.asarray(np.clip(total.sum(axis=1), 0, 1))


def _log_expected(mean: Array, deviation: Array, corners: Array) -> Array:
    """(n, corners) logarithms of E[max(0, corner - y)], y normal: log s + log(z N(z) + n(z)), z = (corner - m) / s."""
    is_known = deviation <= 0
    safe = np.where(is_known, 1.0, deviation)
    z = (corners - mean) / safe
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.log(np.maximum(corners - mean, 0.0))
        guessed = np.log(safe) + _log_h(np.maximum(z, -1e100))
    return np.where(np.isneginf(corners), -np.inf, np.where(is_known, known, guessed))


def _log_h(z: Array) -> Array:
    """log(z N(z) + n(z)), stable for very negative z, where it tends to n(z) / z^2."""
    density = -0.5 * z * z - _LOG_SQRT_2PI
    logs = np.empty_like(z)
    near = z > -6
    logs[near] = np.log(z[near] * ndtr(z[near]) + np.exp(density[near]))
    middle = ~near & (z > -100)
    # n(z) (1 - |z| N(z) / n(z)); the ratio is Mills'.
    mills = np.exp(log_ndtr(z[middle]) - density[middle])
    logs[middle] = density[middle] + np.log(np.maximum(1 + z[middle] * mills, _TINY))
    far = z <= -100
    logs[far] = density[far] - 2 * np.log(-z[far])
    return logs
