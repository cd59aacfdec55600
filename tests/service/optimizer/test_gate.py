from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from service.optimizer.archive import Archive
from service.optimizer.front_search import FrontEngine
from service.optimizer.gate import Gate
from service.optimizer.ladder import Ladder
from tests.service.optimizer.toy import make_optimizer, score

LADDER = Ladder(1.0, 9.0, 3)


def archive_of(*trials: tuple[float, float, float, float]) -> Archive:
    """Trials of (config, fidelity, cost, price), told in order."""
    archive = Archive()
    for config, fidelity, cost, price in trials:
        archive.begin(np.array([config]), fidelity)
        archive.end(np.array([config]), fidelity, [cost, 1.0], price)
    return archive


def test_the_ladder_is_built_down_from_the_highest() -> None:
    assert Ladder(1.0, 20.0, 3).rungs == pytest.approx([20 / 9, 20 / 3, 20])
    assert Ladder(1.0, 9.0, 3).rungs == [1, 3, 9]
    assert Ladder(9.0, 9.0, 3).rungs == [9]


def test_prices_are_in_proportion_until_they_are_known() -> None:
    assert LADDER.shares(Archive()) == pytest.approx({1: 1 / 9, 3: 1 / 3, 9: 1})


def test_prices_follow_the_line_through_what_is_known() -> None:
    known = archive_of((0.1, 1.0, 0.5, 8.0), (0.2, 3.0, 0.5, 10.0))
    assert LADDER.shares(known) == pytest.approx({1: 0.5, 3: 0.625, 9: 1})


def test_measured_prices_are_taken_as_they_are() -> None:
    known = archive_of((0.1, 1.0, 0.5, 3.0), (0.2, 3.0, 0.5, 4.0), (0.3, 9.0, 0.5, 6.0), (0.4, 9.0, 0.5, 10.0))
    assert LADDER.shares(known) == pytest.approx({1: 3 / 8, 3: 0.5, 9: 1})


def test_a_promoted_trial_says_nothing_about_the_price_of_a_new_one() -> None:
    known = archive_of((0.1, 1.0, 0.5, 1.0), (0.1, 9.0, 0.5, 2.0), (0.2, 9.0, 0.5, 9.0))
    assert LADDER.shares(known)[1.0] == pytest.approx(1 / 9)


def test_rungs_that_cost_more_than_half_are_closed_and_it_is_said_once() -> None:
    known, gate = archive_of((0.1, 1.0, 0.5, 7.0), (0.2, 9.0, 0.5, 10.0)), Gate(LADDER, [0])
    assert gate.rungs(known) == []
    assert gate.rungs(known) == []
    assert [said for said in gate.said if "fidelity 1 " in said] == [
        "fidelity 1 is not asked for any more: it costs 70% of a full evaluation"
    ]


@pytest.mark.parametrize(("turned", "is_open"), [(False, True), (True, False)])
def test_a_rung_that_ranks_otherwise_than_full_fidelity_is_closed(turned: bool, is_open: bool) -> None:
    costs = np.linspace(0, 1, 6)
    low = [(c, 1.0, 1 - c if turned else c, 1.0) for c in costs]
    full = [(c, 9.0, c, 9.0) for c in costs]
    gate = Gate(LADDER, [0])
    assert (1.0 in gate.rungs(archive_of(*low, *full))) is is_open
    assert any("correlation -1.00" in said for said in gate.said) is not is_open


def test_five_pairs_are_not_enough_to_judge() -> None:
    low = [(c, 1.0, -c, 1.0) for c in range(5)]
    full = [(c, 9.0, c, 9.0) for c in range(5)]
    assert 1.0 in Gate(LADDER, [0]).rungs(archive_of(*low, *full))


def test_objectives_that_are_known_do_not_judge() -> None:
    low = [(c, 1.0, -c, 1.0) for c in range(8)]
    full = [(c, 9.0, c, 9.0) for c in range(8)]
    assert 1.0 in Gate(LADDER, [1]).rungs(archive_of(*low, *full))


@pytest.mark.parametrize(("expected_cost", "n_low"), [(None, 24), (lambda fidelity: 0.6 + 0.4 * fidelity / 9, 2)])
def test_many_workers_begin_at_full_where_low_fidelities_are_expected_to_be_dear(
    expected_cost: Callable[[float], float] | None, n_low: int
) -> None:
    optimizer = make_optimizer(n_trials=200, n_workers=24, expected_cost=expected_cost)
    fidelities = [suggestion.fidelity for _ in range(24) if (suggestion := optimizer.ask())]
    assert sum(fidelity < 9 for fidelity in fidelities) == n_low


def test_low_fidelities_that_do_not_pay_are_noted_once_it_stays_so() -> None:
    gate = Gate(LADDER, [0])
    for pays in [False] * 19 + [True] + [False] * 19:
        gate.hear(pays=pays)
    assert gate.said == []
    for pays in [False] * 30 + [True] + [False] * 30:
        gate.hear(pays=pays)
    assert [said.split(":")[0] for said in gate.said] == ["only full fidelity is asked for now"]


@pytest.mark.parametrize("seed", range(2))
def test_a_study_whose_low_fidelities_mislead_goes_to_full_fidelity_by_itself_and_says_so(seed: int) -> None:
    optimizer = make_optimizer(n_trials=60, n_workers=1, seed=seed)
    fidelities = []
    while (suggestion := optimizer.ask()) is not None:
        sign = 1.0 if suggestion.fidelity == 9.0 else -1.0
        values = {name: sign * value for name, value in score(suggestion).items()}
        optimizer.tell(suggestion, values, cost=suggestion.fidelity)
        fidelities.append(suggestion.fidelity)
    assert set(fidelities[-20:]) == {9.0}
    engine = optimizer._engine
    assert isinstance(engine, FrontEngine)
    assert any("only full fidelity is asked for now" in said for said in engine.gate.said)


@pytest.mark.parametrize("seed", range(2))
def test_a_short_study_whose_low_fidelities_are_honest_has_nothing_to_say_of_them(seed: int) -> None:
    optimizer = make_optimizer(n_trials=60, n_workers=1, seed=seed)
    while (suggestion := optimizer.ask()) is not None:
        optimizer.tell(suggestion, score(suggestion), cost=suggestion.fidelity)
    engine = optimizer._engine
    assert isinstance(engine, FrontEngine)
    assert engine.gate.said == []
