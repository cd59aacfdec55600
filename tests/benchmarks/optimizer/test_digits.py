from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.benchmarks.optimizer.build_digits_table import build_network, measure
from tests.benchmarks.optimizer.digits import DIGITS_DEPTH, DIGITS_EPOCHS, best, nearest, table
from tests.benchmarks.optimizer.digits_configs import DEPTHS, TABLE, configs, digits_space, row_of
from tests.benchmarks.optimizer.problem import Problem
from tests.benchmarks.optimizer.searcher import Ask
from tests.benchmarks.optimizer.simulate import simulate
from worker.data import load_dataset
from worker.schema import Recipe

PROBLEMS = [DIGITS_EPOCHS, DIGITS_DEPTH]
ROW = 200
CONFIG = configs()[ROW]


class Everything:
    """Asks for every network once, in order."""

    def __init__(self, problem: Problem) -> None:
        self._asks = [Ask(i, config, problem.fidelity[1]) for i, config in enumerate(configs())]

    def ask(self) -> Ask | None:
        return self._asks.pop() if self._asks else None

    def tell(self, trial_id, values, cost) -> None:
        pass


def test_the_table_is_complete_and_small():
    columns = table()
    assert columns["error"].shape == (len(configs()), 3, 9)
    assert all(np.isfinite(column).all() for column in columns.values())
    assert TABLE.stat().st_size < 2_000_000


def test_every_config_of_the_space_has_its_row():
    assert [row_of(config) for config in configs()] == list(range(len(configs())))
    for config in digits_space(0).sample_configuration(20):
        assert configs()[row_of(dict(config))] == dict(config)


def test_epochs_are_read_from_the_curve_of_the_network_of_shift_layers_alone():
    row = table()["error"][ROW, -1]
    assert [DIGITS_EPOCHS.evaluate(CONFIG, e)["error"] for e in (1, 4, 9)] == [row[0], row[3], row[8]]


def test_depths_are_read_from_the_end_of_each_curve_with_their_energy():
    for column, depth in enumerate(DEPTHS):
        values = DIGITS_DEPTH.evaluate(CONFIG, depth)
        assert values["error"] == table()["error"][ROW, column, -1]
        assert values["deployment_energy"] == table()["joules"][ROW, column]


@pytest.mark.parametrize(("fidelity", "depth"), [(1, 1), (2, 1), (2.1, 3), (4, 3), (6, 3), (7, 9), (9, 9)])
def test_a_depth_that_was_not_trained_is_the_nearest(fidelity, depth):
    assert DEPTHS[nearest(fidelity, DEPTHS)] == depth


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_energy_that_is_known_is_the_energy_that_is_found(problem):
    for fidelity in problem.fidelity:
        found = problem.evaluate(CONFIG, fidelity)["deployment_energy"]
        assert problem.known["deployment_energy"](CONFIG, fidelity) == found


@pytest.mark.parametrize("problem", PROBLEMS)
def test_full_fidelity_costs_one_and_less_costs_less(problem):
    costs = [problem.cost(CONFIG, f) for f in (1, 3, 9)]
    assert costs == sorted(costs)
    assert costs[-1] == 1


@pytest.mark.parametrize("problem", PROBLEMS)
def test_all_networks_together_are_the_best_that_can_be_found(problem):
    trace = simulate(problem, Everything(problem), n_workers=4, budget=10_000)
    assert trace.n_trials == len(configs())
    assert trace.hypervolume[-1] == pytest.approx(1)
    assert problem.best_hypervolume == best()


def test_the_network_has_as_many_layers_as_the_greatest_depth():
    network = build_network(load_dataset("digits"))
    assert sum(isinstance(layer, torch.nn.Linear) for layer in network) == DEPTHS[-1]


def test_a_training_gives_what_the_table_says():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outcome = measure(CONFIG, 1)
    finally:
        torch.set_num_threads(threads)
    # Other processors round otherwise, and nine epochs of training make more of it.
    assert outcome["joules"] == pytest.approx(table()["joules"][ROW, 0])
    assert outcome["error"][-1] == pytest.approx(table()["error"][ROW, 0, -1], abs=0.15)


def test_every_config_is_a_recipe():
    for config in configs():
        assert dict(Recipe(**config)).items() >= config.items()
