"""Searches long for the best hypervolumes of Branin-Currin and Park at full fidelity: what the others are divided by.

Two million random points, then 60 rounds that keep the front and try 200,000 points near it, at distances of
0.00003 to 0.3. About two minutes; prints the hypervolume of every tenth round, so that convergence can be seen.
"""

from __future__ import annotations

import numpy as np

from service.pareto import front, hypervolume
from tests.benchmarks.optimizer.momf import BRANIN_CURRIN, PARK, Array, Function, branin_currin, park
from tests.benchmarks.optimizer.problem import Problem

_N_RANDOM, _N_ROUNDS, _N_NEAR, _MOST_KEPT = 2_000_000, 60, 200_000, 20_000


def best_hypervolume(function: Function, n_parameters: int, problem: Problem) -> float:
    """Of the front that the search ends with."""
    generator = np.random.default_rng(0)
    reference = np.array(problem.reference_point)
    points = generator.random((_N_RANDOM, n_parameters))
    costs = function(points, 1.0)
    points, costs = _keep(points, costs)
    for number in range(1, _N_ROUNDS + 1):
        near = _near(points, generator)
        points, costs = _keep(np.concatenate([points, near]), np.concatenate([costs, function(near, 1.0)]))
        if number % 10 == 0:
            print(f"{problem.name}: round {number}, {len(points)} points, {hypervolume(costs, reference):.7f}")
    return hypervolume(costs, reference)


def _near(points: Array, generator: np.random.Generator) -> Array:
    parents = points[generator.integers(len(points), size=_N_NEAR)]
    distances = 10 ** generator.uniform(-4.5, -0.5, (_N_NEAR, 1))
    # Some parameters only, so that one at the edge of the cube stays there.
    moved = generator.random(parents.shape) < 0.6
    return np.clip(parents + moved * distances * generator.standard_normal(parents.shape), 0, 1)


def _keep(points: Array, costs: Array) -> tuple[Array, Array]:
    """The front; of too many points those that the hypervolume would lose most without."""
    kept = np.flatnonzero(front(costs))
    kept = kept[np.argsort(costs[kept, 0])]
    steps = np.abs(np.diff(costs[kept], axis=0))
    # What a point dominates alone lies between its neighbours; the ends stay.
    alone = np.full(len(kept), np.inf)
    alone[1:-1] = steps[1:, 0] * steps[:-1, 1]
    kept = kept[np.argsort(-alone)[:_MOST_KEPT]]
    return points[kept], costs[kept]


if __name__ == "__main__":
    for function, n_parameters, problem in ((branin_currin, 2, BRANIN_CURRIN), (park, 4, PARK)):
        print(f"{problem.name}: {best_hypervolume(function, n_parameters, problem):.7f}")
