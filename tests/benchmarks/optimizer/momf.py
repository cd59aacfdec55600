"""Branin-Currin and Park with a fidelity (Irshad, Karsch and Döpp, arXiv 2112.13901; signs and constants of BoTorch).

The published cost is exp(4.8 s) of a fidelity s of 0..1; here the fidelity is 1..20, s a twentieth of it and the cost
linear, as that of epochs is: 20 evaluations at the lowest fidelity cost as much as one at the highest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ConfigSpace import ConfigurationSpace, Float
from numpy.typing import NDArray

from tests.benchmarks.optimizer.problem import Config, Problem, linear_cost

Array = NDArray[np.float64]
# Of points (rows, parameters) in the unit cube at fidelities 0..1: costs (rows, 2).
Function = Callable[[Array, float], Array]
FIDELITY = (1.0, 20.0)


def branin_currin(points: Array, s: float) -> Array:
    """Negated modified Branin and Currin functions of two parameters."""
    x1, x2 = points.T
    u, v = 15 * x1 - 5, 15 * x2
    b = 5.1 / (4 * np.pi**2) - 0.01 * (1 - s)
    c = 5 / np.pi - 0.1 * (1 - s)
    t = 1 / (8 * np.pi) + 0.05 * (1 - s)
    branin = (v - b * u**2 + c * u - 6) ** 2 + 10 * (1 - t) * np.cos(u) + 10
    above = 2300 * x1**3 + 1900 * x1**2 + 2092 * x1 + 60
    below = 100 * x1**3 + 500 * x1**2 + 4 * x1 + 20
    # At x2 = 0 the exponential is at its limit, 0.
    currin = (1 - 0.1 * (1 - s) * np.exp(-1 / (2 * np.maximum(x2, 1e-9)))) * above / below
    return np.stack([(branin - 21) / 22, (currin - 14) / 15], axis=1)


def park(points: Array, s: float) -> Array:
    """Negated modified Park functions of four parameters."""
    p1, x2, p3, p4 = points.T
    x1, x3, x4 = 1 - 2 * (p1 - 0.6) ** 2, 1 - 3 * (p3 - 0.5) ** 2, 1 - (p4 - 0.8) ** 2
    a, b = 0.9 + 0.1 * s, 0.1 * (1 - s)
    t1 = (x1 + 1e-3 * (1 - s)) / 2 * np.sqrt(1 + (x2 + x3**2) * x4 / (x1**2 + 1e-4))
    t2 = (x1 + 3 * x4) * np.exp(1 + np.sin(x3))
    first = a * (t1 + t2 - b) / 22 - 0.8
    second = a * (5 - 2 / 3 * np.exp(x1 + x2) + x4 * np.sin(x3) * a - x3 + b) / 4 - 0.7
    return np.stack([-first, -second], axis=1)


def _problem(name: str, function: Function, n_parameters: int, best_hypervolume: float) -> Problem:
    names = [f"x{i}" for i in range(1, n_parameters + 1)]

    def space(seed: int) -> ConfigurationSpace:
        made = ConfigurationSpace(seed=seed)
        made.add([Float(name, (0.0, 1.0)) for name in names])
        return made

    def evaluate(config: Config, fidelity: float) -> dict[str, float]:
        point = np.array([[config[name] for name in names]])
        first, second = function(point, fidelity / FIDELITY[1])[0]
        return {"first": float(first), "second": float(second)}

    return Problem(
        name=name,
        space=space,
        objectives={"first": "minimize", "second": "minimize"},
        fidelity=FIDELITY,
        evaluate=evaluate,
        cost=linear_cost(FIDELITY[1]),
        reference_point=(0.0, 0.0),
        best_hypervolume=best_hypervolume,
    )


# Found by best_front.py, the last digit rounded up. BoTorch's constants are 0.52355, which no front at full fidelity
# reaches, and 0.08552, which random points of Park exceed.
BRANIN_CURRIN = _problem("momf-branin-currin", branin_currin, 2, 0.503998)
PARK = _problem("momf-park", park, 4, 0.089890)
