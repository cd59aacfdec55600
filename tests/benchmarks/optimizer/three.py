"""Three objectives in the style of DTLZ2 (Deb, Thiele, Laumanns and Zitzler, 2002), with a fidelity.

At full fidelity the front is an eighth of a unit sphere, where the distance g of the last five parameters from 1/2 is
0; two of seven parameters choose the place on it. At a low fidelity the distance is measured from elsewhere and
flattened, and the sphere is larger.
"""

from __future__ import annotations

import math

from ConfigSpace import ConfigurationSpace, Float

from tests.benchmarks.optimizer.problem import Config, Problem, linear_cost

FIDELITY = (1.0, 9.0)
_N_DISTANCES = 5
_SIDE = 1.3
_NAMES = ("first", "second", *(f"x{i}" for i in range(_N_DISTANCES)))


def _space(seed: int) -> ConfigurationSpace:
    space = ConfigurationSpace(seed=seed)
    space.add([Float(name, (0.0, 1.0)) for name in _NAMES])
    return space


def _evaluate(config: Config, fidelity: float) -> dict[str, float]:
    missing = 1 - fidelity / FIDELITY[1]
    away = sum((config[name] - 0.5 - 0.15 * missing * (-1) ** i) ** 2 for i, name in enumerate(_NAMES[2:]))
    radius = 1 + (1 - 0.3 * missing) * away + 0.2 * missing
    theta, phi = (math.pi / 2 * config[name] for name in _NAMES[:2])
    return {
        "a": radius * math.cos(theta) * math.cos(phi),
        "b": radius * math.cos(theta) * math.sin(phi),
        "c": radius * math.sin(theta),
    }


THREE = Problem(
    name="dtlz2-three",
    space=_space,
    objectives={"a": "minimize", "b": "minimize", "c": "minimize"},
    fidelity=FIDELITY,
    evaluate=_evaluate,
    cost=linear_cost(FIDELITY[1]),
    reference_point=(_SIDE, _SIDE, _SIDE),
    # A cube but an eighth of the unit ball.
    best_hypervolume=_SIDE**3 - math.pi / 6,
)
