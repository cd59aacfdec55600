from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Constant, ForbiddenInClause, Integer
from hypothesis import given, settings
from hypothesis import strategies as st

from service.optimizer import Optimizer, Suggestion
from service.pareto import dominates
from tests.service.optimizer.toy import FIRST, N_TRIALS, drive, make_optimizer, rounded, score, six_configs

every_kind = pytest.mark.parametrize(
    "kind", ["greenshift", pytest.param("smac-default", marks=pytest.mark.slow), "random"]
)


def asked(optimizer: Optimizer) -> Suggestion:
    suggestion = optimizer.ask()
    assert suggestion is not None
    return suggestion


@every_kind
def test_every_ask_has_a_new_trial_id_up_to_n_trials(kind: str) -> None:
    optimizer = make_optimizer(optimizer=kind, n_trials=12)
    suggestions = drive(optimizer, outstanding=4)
    assert len({s.trial_id for s in suggestions}) == 12
    assert optimizer.ask() is None


@every_kind
@pytest.mark.parametrize("outstanding", [1, 12])
def test_none_comes_only_once_n_trials_were_asked(kind: str, outstanding: int) -> None:
    assert len(drive(make_optimizer(optimizer=kind, n_trials=12), outstanding=outstanding)) == 12


def test_a_space_of_six_configs_ends_with_none_and_no_exception() -> None:
    optimizer = make_optimizer(space=six_configs(), n_trials=100)
    suggestions = drive(optimizer)
    assert len({rounded(s.config) for s in suggestions}) <= 6
    assert [optimizer.ask(), optimizer.ask()] == [None, None]


def test_a_constant_makes_no_config_new() -> None:
    space = ConfigurationSpace()
    space.add(Constant("a", 3), Integer("n", (1, 2)))
    suggestions = drive(make_optimizer(space=space, fidelity=None, n_trials=30))
    assert sorted(s.config["n"] for s in suggestions) == [1, 2]


@pytest.mark.parametrize(("n_trials", "n_workers"), [(1, 1), (3, 1), (8, 8), (16, 16), (40, 64)])
def test_full_fidelity_is_tried_in_every_study(n_trials: int, n_workers: int) -> None:
    optimizer = make_optimizer(n_trials=n_trials, n_workers=n_workers)
    # All are asked for before anything is told.
    assert 9.0 in {asked(optimizer).fidelity for _ in range(n_trials)}


def test_full_fidelity_is_tried_where_every_lower_one_fails() -> None:
    optimizer = make_optimizer(n_trials=40)
    while (suggestion := optimizer.ask()) is not None:
        is_low = suggestion.fidelity < 9
        optimizer.tell(suggestion, None if is_low else score(suggestion), failure="crashed" if is_low else None)
    assert len(optimizer.front()) > 3


def test_a_long_run_of_failures_is_survived() -> None:
    optimizer = make_optimizer(fidelity=None, n_trials=112)
    for i in range(112):
        suggestion = asked(optimizer)
        optimizer.tell(suggestion, None if i < 102 else score(suggestion), failure="crashed" if i < 102 else None)
    assert optimizer.front()


def test_a_space_that_is_forbidden_but_for_a_few_is_searched_to_its_end() -> None:
    space = ConfigurationSpace()
    space.add(Integer("a", (0, 1000), default=0), Integer("b", (0, 10)))
    space.add(ForbiddenInClause(space["a"], list(range(3, 1001))))
    assert len(drive(make_optimizer(space=space, fidelity=None, n_trials=60))) == 33


@pytest.mark.parametrize(
    ("changes", "said"), [({"eta": 1}, "eta"), ({"fidelity": (0.1, 1.0), "integer_fidelity": True}, "at least 1")]
)
def test_what_makes_no_ladder_is_a_value_error(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_optimizer(**changes)


def test_a_space_smaller_than_a_bracket_is_searched_to_its_end() -> None:
    suggestions = drive(make_optimizer(space=six_configs(), n_trials=100))
    assert len({rounded(s.config) for s in suggestions}) == 6


def test_random_search_names_no_trial_at_the_same_fidelity_as_the_one_below() -> None:
    suggestions = drive(make_optimizer(space=six_configs(), optimizer="random", n_trials=12))
    assert {s.promoted_from for s in suggestions} == {None}


def test_random_search_with_repeated_configs_replays_every_config_in_its_place() -> None:
    original = make_optimizer(space=six_configs(), optimizer="random", n_trials=12)
    log = [asked(original) for _ in range(12)]
    rebuilt = make_optimizer(space=six_configs(), optimizer="random", n_trials=12)
    rebuilt.replay(log)
    assert [dict(proposal.config) for proposal in rebuilt._open.values()] == [s.config for s in log]


@pytest.mark.parametrize("trial_id", ["00002", "default", ""])
def test_telling_a_trial_that_was_never_asked_is_a_key_error(trial_id: str) -> None:
    optimizer = make_optimizer()
    asked(optimizer)
    with pytest.raises(KeyError, match=f"{trial_id!r} is not outstanding"):
        optimizer.tell(trial_id, {"error": 1.0, "energy": 1.0})


def test_telling_twice_is_a_key_error() -> None:
    optimizer = make_optimizer()
    suggestion = asked(optimizer)
    optimizer.tell(suggestion, score(suggestion))
    with pytest.raises(KeyError, match="00001"):
        optimizer.tell(suggestion.trial_id, failure="late")


@pytest.mark.parametrize(
    "objectives",
    [
        {"error": 0.5},
        {"error": 0.5, "energy": float("nan")},
        {"error": float("inf"), "energy": 1.0},
        {"error": 0.5, "energy": float("-inf")},
    ],
)
def test_a_missing_or_non_finite_objective_is_a_value_error(objectives: dict[str, float]) -> None:
    optimizer = make_optimizer()
    suggestion = asked(optimizer)
    with pytest.raises(ValueError, match="must be a finite number"):
        optimizer.tell(suggestion, objectives)
    optimizer.tell(suggestion, score(suggestion))


@pytest.mark.parametrize(
    "what", [{}, {"objectives": {"error": 1.0, "energy": 1.0}, "failure": "crashed"}], ids=["neither", "both"]
)
def test_neither_or_both_of_objectives_and_failure_is_a_value_error(what: dict[str, Any]) -> None:
    optimizer = make_optimizer()
    suggestion = asked(optimizer)
    with pytest.raises(ValueError, match="either objectives or a failure"):
        optimizer.tell(suggestion, **what)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "grid"}, "greenshift, smac-default or random, got 'grid'"),
        ({"objectives": {"error": "down", "energy": "minimize"}}, "minimize or maximize, got 'down'"),
        ({"fidelity": (0.0, 9.0)}, "0 < lowest"),
        ({"fidelity": (9.0, 1.0)}, "0 < lowest"),
    ],
)
def test_impossible_arguments_are_value_errors(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_optimizer(**changes)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=10))
def test_the_front_of_mixed_directions_is_the_brute_force_front(rows: list[tuple[int, int]]) -> None:
    directions = {"accuracy": "maximize", "energy": "minimize"}
    optimizer = make_optimizer(objectives=directions, optimizer="random", n_trials=len(rows))
    for accuracy, energy in rows:
        optimizer.tell(asked(optimizer), {"accuracy": accuracy, "energy": energy})
    costs = [np.array([-a, e], dtype=float) for a, e in rows]
    expected = [r for r, c in zip(rows, costs, strict=True) if not any(dominates(o, c) for o in costs)]
    found = [(r["objectives"]["accuracy"], r["objectives"]["energy"]) for r in optimizer.front()]
    assert sorted(found) == sorted(expected)


def test_maximising_finds_the_highest() -> None:
    optimizer = make_optimizer(objectives={"error": "maximize", "energy": "maximize"}, n_trials=60)
    drive(optimizer)
    best = max(row["objectives"]["energy"] for row in optimizer.front())
    # At x = 0, n = 50, y = 1.
    assert best > 2.8


def test_the_front_has_results_at_full_fidelity_only() -> None:
    optimizer = make_optimizer(n_trials=30)
    drive(optimizer)
    found = optimizer.front()
    assert found
    assert {row["fidelity"] for row in found} == {9.0}
    assert set(found[0]) == {"config", "fidelity", "objectives"}


def test_without_results_the_front_is_empty() -> None:
    assert make_optimizer().front() == []


@every_kind
def test_the_same_seed_and_order_of_tells_give_the_same_suggestions(kind: str) -> None:
    first, again, other = (
        drive(make_optimizer(optimizer=kind, seed=s, n_trials=N_TRIALS[kind]), outstanding=3) for s in (1, 1, 2)
    )
    assert first == again
    assert [s.config for s in first] != [s.config for s in other]


def test_configs_are_plain_python_and_survive_json() -> None:
    for suggestion in drive(make_optimizer(n_trials=15)):
        assert {type(v) for v in suggestion.config.values()} <= {int, float, str, bool}
        assert json.loads(json.dumps(suggestion.config)) == suggestion.config


def test_whole_fidelities_are_suggested_where_asked_for() -> None:
    suggestions = drive(make_optimizer(fidelity=(1.0, 20.0), integer_fidelity=True, n_trials=30), outstanding=2)
    assert {s.fidelity for s in suggestions} == {2.0, 7.0, 20.0}


def test_fidelities_are_exact_otherwise() -> None:
    suggestions = drive(make_optimizer(fidelity=(3.0, 10.0), n_trials=20))
    assert sorted({s.fidelity for s in suggestions}) == pytest.approx([10 / 3, 10.0])


def test_a_promoted_trial_names_the_one_of_its_config_below() -> None:
    # After six trials at the lowest fidelity no config is new.
    suggestions = drive(make_optimizer(space=six_configs(), n_trials=60), outstanding=3)
    by_id = {s.trial_id: s for s in suggestions}
    promoted = [s for s in suggestions if s.promoted_from is not None]
    assert {s.fidelity for s in promoted} >= {9.0}
    for suggestion in promoted:
        below = by_id[str(suggestion.promoted_from)]
        assert below.config == suggestion.config
        assert below.fidelity < suggestion.fidelity


@every_kind
def test_without_a_fidelity_every_trial_is_full(kind: str) -> None:
    suggestions = drive(make_optimizer(fidelity=None, optimizer=kind, n_trials=6))
    assert {(s.fidelity, s.promoted_from) for s in suggestions} == {(1.0, None)}


def test_random_search_is_at_full_fidelity_only() -> None:
    suggestions = drive(make_optimizer(optimizer="random", n_trials=10))
    assert {(s.fidelity, s.promoted_from) for s in suggestions} == {(9.0, None)}


@every_kind
def test_initial_configs_are_asked_for_first_and_once(kind: str) -> None:
    optimizer = make_optimizer(optimizer=kind, n_trials=N_TRIALS[kind], initial=[*FIRST, FIRST[0]])
    configs = [s.config for s in drive(optimizer) if s.promoted_from is None]
    assert [pytest.approx(config) for config in configs[:2]] == FIRST
    assert all(config not in configs[2:] for config in configs[:2])
