from __future__ import annotations

import math

import numpy as np
import pytest

from service.pareto import hypervolume
from tests.benchmarks.optimizer.momf import BRANIN_CURRIN, PARK, branin_currin, park

# The published minima of Branin's function, all 0.397887.
MINIMA = [(-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)]


@pytest.mark.parametrize(("u", "v"), MINIMA)
def test_branin_is_best_at_its_published_minima(u, v):
    values = BRANIN_CURRIN.evaluate({"x1": (u + 5) / 15, "x2": v / 15}, 20.0)
    assert values["first"] == pytest.approx((0.397887 - 21) / 22, abs=1e-6)


def test_currin_in_the_middle_is_what_a_hand_computes():
    ratio = (2300 / 8 + 1900 / 4 + 2092 / 2 + 60) / (100 / 8 + 500 / 4 + 4 / 2 + 20)
    middle = np.array([[0.5, 0.5]])
    assert branin_currin(middle, 1.0)[0, 1] == pytest.approx((ratio - 14) / 15)
    assert branin_currin(middle, 0.0)[0, 1] == pytest.approx(((1 - 0.1 * math.exp(-1)) * ratio - 14) / 15)


def test_currin_is_defined_on_the_edge_where_its_formula_divides_by_zero():
    assert np.isfinite(branin_currin(np.array([[0.5, 0.0]]), 0.0)).all()


def test_park_where_its_transformed_parameters_are_simple_is_what_a_hand_computes():
    # Transformed: 1, 0, 1, 1.
    point = np.array([[0.6, 0.0, 0.5, 0.8]])
    first = (0.5 * math.sqrt(1 + 1 / 1.0001) + 4 * math.exp(1 + math.sin(1))) / 22 - 0.8
    second = (5 - 2 / 3 * math.e + math.sin(1) - 1) / 4 - 0.7
    assert park(point, 1.0)[0] == pytest.approx([-first, -second])


def test_park_has_better_fronts_than_the_constant_of_botorch():
    points = np.random.default_rng(0).random((300_000, 4))
    share = hypervolume(park(points, 1.0), np.zeros(2)) / PARK.best_hypervolume
    assert share * PARK.best_hypervolume > 0.0856
    assert share < 1


def test_the_best_hypervolume_of_branin_currin_is_that_of_a_fine_grid():
    side = np.linspace(0, 1, 801)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    share = hypervolume(branin_currin(grid, 1.0), np.zeros(2)) / BRANIN_CURRIN.best_hypervolume
    assert 0.99 < share < 1


def test_both_are_the_functions_of_botorch():
    test_functions = pytest.importorskip("botorch.test_functions.multi_objective_multi_fidelity")
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    for function, theirs in ((branin_currin, test_functions.MOMFBraninCurrin()), (park, test_functions.MOMFPark())):
        points = generator.random((50, theirs.dim - 1))
        for s in (0.0, 0.3, 1.0):
            asked = torch.tensor(np.hstack([points, np.full((50, 1), s)]))
            np.testing.assert_allclose(function(points, s), theirs.evaluate_true(asked).numpy(), rtol=1e-12)
