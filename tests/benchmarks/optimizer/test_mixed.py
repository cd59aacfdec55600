from __future__ import annotations

import numpy as np
import pytest

from service.pareto import hypervolume
from tests.benchmarks.optimizer.mixed import _CATEGORIES, _NUMBERS, MIXED, best_dropout, best_warmup, distance
from tests.benchmarks.optimizer.peers.parameters import active
from tests.benchmarks.optimizer.problem import Config


def best(trade: float, **changes: object) -> Config:
    """The config of the front that trades so much."""
    numbers = {name: row[2] for name, row in _NUMBERS.items()}
    categories = {name: min(penalties, key=penalties.__getitem__) for name, penalties in _CATEGORIES.items()}
    others = {"momentum": 0.9, "dropout": best_dropout(trade), "warmup": best_warmup(numbers["learning_rate"])}
    return numbers | categories | others | {"trade": trade} | changes


@pytest.mark.parametrize("trade", [0.0, 0.25, 1.0])
def test_the_front_is_one_minus_the_root_of_the_price(trade):
    values = MIXED.evaluate(best(trade), 27.0)
    assert values == pytest.approx({"price": trade, "loss": 1 - trade**0.5})


def test_the_best_hypervolume_is_that_of_the_front():
    costs = np.array([MIXED.costs(MIXED.evaluate(best(t), 27.0)) for t in np.linspace(0, 1, 4001)])
    found = hypervolume(costs, np.array(MIXED.reference_point))
    assert MIXED.best_hypervolume - 1e-3 < found < MIXED.best_hypervolume


def test_nothing_is_nearer_than_the_best_values():
    configs = MIXED.space(0).sample_configuration(500)
    assert min(distance(dict(config)) for config in configs) > 0
    assert distance(best(0.3)) == pytest.approx(0)


def test_a_momentum_is_there_with_one_optimizer_alone_and_counts_there():
    space = MIXED.space(0)
    for config in space.sample_configuration(50):
        assert ("momentum" in config) == (config["optimizer"] == "sgd")
    assert distance(best(0.3, momentum=0.4)) == pytest.approx(0.6 * 0.5**2)


def test_a_low_fidelity_costs_less_looks_worse_and_has_its_best_elsewhere():
    assert MIXED.cost(best(0.3), 1.0) == pytest.approx(1 / 27)
    low, high = (MIXED.evaluate(best(0.3), fidelity) for fidelity in (1.0, 27.0))
    assert all(low[name] > high[name] for name in high)
    assert MIXED.evaluate(best(0.3, layers=4), 1.0)["loss"] < low["loss"]
    assert MIXED.evaluate(best(0.3, layers=4), 27.0)["loss"] > high["loss"]


def test_values_without_a_meaning_are_left_out_and_the_rest_are_pythons_own():
    values = best(0.3, optimizer="adam") | {"width": np.int64(64)}
    config = active(MIXED.space(0), values)
    assert config == {name: value for name, value in values.items() if name != "momentum"}
    assert type(config["width"]) is int
