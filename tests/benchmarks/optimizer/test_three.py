from __future__ import annotations

import math

import numpy as np
import pytest

from service.pareto import hypervolume
from tests.benchmarks.optimizer.three import THREE


def at(first: float, second: float, rest: float = 0.5) -> dict[str, float]:
    return {"first": first, "second": second} | {f"x{i}": rest for i in range(5)}


@pytest.mark.parametrize(
    ("place", "values"),
    [((0, 0), (1, 0, 0)), ((0, 1), (0, 1, 0)), ((1, 0.3), (0, 0, 1)), ((0.5, 0.5), (0.5, 0.5, math.sqrt(0.5)))],
)
def test_the_front_is_a_unit_sphere(place, values):
    assert list(THREE.evaluate(at(*place), 9.0).values()) == pytest.approx(values)


def test_away_from_the_middle_the_sphere_is_larger_by_the_squared_distance():
    assert THREE.evaluate(at(0, 0, 0.7), 9.0)["a"] == pytest.approx(1 + 5 * 0.2**2)


def test_at_the_lowest_fidelity_the_best_lies_elsewhere():
    missing = 1 - 1 / 9
    moved = {f"x{i}": 0.5 + 0.15 * missing * (-1) ** i for i in range(5)}
    assert THREE.evaluate(at(0, 0) | moved, 1.0)["a"] == pytest.approx(1 + 0.2 * missing)


def test_the_best_hypervolume_is_a_cube_but_an_eighth_of_a_ball():
    side = np.linspace(0, 1, 60)
    costs = np.array([THREE.costs(THREE.evaluate(at(a, b), 9.0)) for a in side for b in side])
    found = hypervolume(costs, np.array(THREE.reference_point))
    assert 0.98 < found / THREE.best_hypervolume < 1
