"""The search leaves no end of a front aside, and no part of one that is in pieces."""

from __future__ import annotations

import math

import pytest
from ConfigSpace import ConfigurationSpace, Float

from tests.service.optimizer.toy import make_optimizer


def test_a_search_that_begins_at_one_end_of_the_front_finds_the_other() -> None:
    space = ConfigurationSpace()
    space.add(Float("x", (0.001, 1.0), log=True))
    optimizer = make_optimizer(space=space, fidelity=None, n_trials=30, n_workers=1)
    found = []
    while (suggestion := optimizer.ask()) is not None:
        x = suggestion.config["x"]
        found.append(x)
        # On a logarithmic scale nine tenths of the front are a third of the space.
        optimizer.tell(suggestion, {"error": x, "energy": 1 - x})
    assert max(found) > 0.9
    assert sum(x > 0.5 for x in found) >= 5


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_that_begins_in_one_piece_of_the_front_finds_the_next_one(seed: int) -> None:
    names = [f"x{i}" for i in range(6)]
    space = ConfigurationSpace(seed=seed)
    space.add([Float(name, (0.0, 1.0)) for name in names])
    begin = dict.fromkeys(names, 0.0) | {"x0": 0.1}
    optimizer = make_optimizer(space=space, fidelity=None, n_trials=100, n_workers=1, seed=seed, initial=[begin])
    found = []
    while (suggestion := optimizer.ask()) is not None:
        place, *others = (suggestion.config[name] for name in names)
        # DTLZ7 (Deb, Thiele, Laumanns and Zitzler, 2002): nothing between 0.26 and 0.63 is on the front.
        away = 2 + 1.8 * sum(others)
        costs = place, 2 * away - place * (1 + math.sin(3 * math.pi * place))
        found.append(costs)
        optimizer.tell(suggestion, dict(zip(("error", "energy"), costs, strict=True)))
    front = [a for a in found if not any(b[0] <= a[0] and b[1] < a[1] for b in found)]
    assert sum(place > 0.6 for place, _ in front) >= 3


@pytest.mark.parametrize("seed", [0, 1])
def test_a_best_value_at_the_very_end_of_its_range_is_tried(seed: int) -> None:
    names = [f"x{i}" for i in range(5)]
    space = ConfigurationSpace(seed=seed)
    space.add([Float(name, (0.0, 1.0)) for name in names])
    optimizer = make_optimizer(space=space, fidelity=None, n_trials=60, n_workers=1, seed=seed)
    found = []
    while (suggestion := optimizer.ask()) is not None:
        place, *others = (suggestion.config[name] for name in names)
        # As in ZDT6 (Zitzler, Deb and Thiele, 2000) hardly anything is gained anywhere but at the end itself.
        away = 1 + 9 * (sum(others) / 4) ** 0.25
        found.append(away)
        optimizer.tell(suggestion, {"error": place, "energy": away * (1 - math.sqrt(place / away))})
    assert min(found) == 1.0
