from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from ConfigSpace import ConfigurationSpace, Float

from tests.benchmarks.optimizer.problem import Problem, linear_cost
from tests.benchmarks.optimizer.searcher import Ask
from tests.benchmarks.optimizer.simulate import simulate


def space(seed: int) -> ConfigurationSpace:
    made = ConfigurationSpace(seed=seed)
    made.add(Float("x", (0.0, 1.0)))
    return made


# A line between (0, 1) and (1, 0); the best hypervolume, of all its points, is 1/2.
LINE = Problem(
    name="line",
    space=space,
    objectives={"a": "minimize", "b": "minimize"},
    fidelity=(1.0, 4.0),
    evaluate=lambda config, fidelity: {"a": config["x"], "b": 1 - config["x"]},
    cost=linear_cost(4.0),
    reference_point=(1.0, 1.0),
    best_hypervolume=0.5,
)


@dataclass
class Script:
    """Asks what it is given, waits where it is None until a tell, and writes down what happens."""

    asks: list[tuple[float, float] | None]
    happened: list[str] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    before: dict[int, float] = field(default_factory=dict)

    def ask(self) -> Ask | None:
        if not self.asks:
            return None
        wanted = self.asks.pop(0)
        if wanted is None:
            return None
        number = sum(line.startswith("ask") for line in self.happened)
        self.happened.append(f"ask {number}")
        return Ask(number, {"x": wanted[0]}, wanted[1], self.before.get(number))

    def tell(self, trial_id, values, cost) -> None:
        self.happened.append(f"tell {trial_id}")
        self.costs.append(cost)


def test_one_worker_asks_after_every_tell():
    script = Script([(0.5, 4.0)] * 5)
    trace = simulate(LINE, script, n_workers=1, budget=2)
    assert script.happened == ["ask 0", "tell 0", "ask 1", "tell 1"]
    assert (trace.n_trials, trace.n_full, trace.clock, trace.idle_share) == (2, 2, 2.0, 0.0)


def test_cheaper_evaluations_end_sooner_and_their_worker_asks_at_once():
    script = Script([(0.5, 4.0), (0.5, 1.0), (0.5, 2.0), (0.5, 4.0), (0.5, 4.0)])
    simulate(LINE, script, n_workers=2, budget=2)
    # Started with 1 + 1/4 + 1/2 + 1 of 2: the last one began below the budget and is finished.
    assert script.happened == ["ask 0", "ask 1", "tell 1", "ask 2", "tell 2", "ask 3", "tell 0", "tell 3"]
    assert script.costs == [0.25, 0.5, 1.0, 1.0]


def test_of_evaluations_that_end_together_the_first_one_is_told_first():
    script = Script([(0.5, 4.0)] * 4)
    simulate(LINE, script, n_workers=2, budget=4)
    assert script.happened == ["ask 0", "ask 1", "tell 0", "ask 2", "tell 1", "ask 3", "tell 2", "tell 3"]


def test_a_worker_without_anything_to_do_waits_for_a_tell_and_that_is_idle_time():
    script = Script([(0.5, 4.0), None, (0.5, 4.0), (0.5, 4.0)])
    trace = simulate(LINE, script, n_workers=2, budget=3)
    assert script.happened == ["ask 0", "tell 0", "ask 1", "ask 2", "tell 1", "tell 2"]
    # One of two workers waited for the first of one time unit until all was given out.
    assert trace.idle_share == 0.5


def test_a_search_that_has_nothing_more_to_ask_ends():
    trace = simulate(LINE, Script([(0.5, 4.0)]), n_workers=4, budget=100)
    assert (trace.n_trials, trace.clock) == (1, 1.0)


def test_the_hypervolume_is_of_full_fidelity_alone_and_against_what_was_finished():
    script = Script([(0.5, 1.0), (0.5, 4.0), (0.25, 4.0), (0.25, 4.0), (0.75, 4.0)])
    trace = simulate(LINE, script, n_workers=1, budget=4.25)
    assert trace.spent == [0.0, 1.25, 2.25, 4.25]
    # One square of 1/4, then with a rectangle of 1/16 at each side.
    assert trace.hypervolume == pytest.approx([0.0, 0.5, 0.625, 0.75])
    assert [trace.at(spent) for spent in (1, 1.25, 4, 5)] == pytest.approx([0.0, 0.5, 0.625, 0.75])


def test_what_was_spent_in_twentieths_counts_at_the_whole_number():
    fine = replace(LINE, fidelity=(0.1, 1.0), cost=linear_cost(10.0))
    trace = simulate(fine, Script([(0.5, 1.0)] * 10), n_workers=1, budget=1)
    assert trace.n_trials == 10


@pytest.mark.parametrize(("continues", "costs"), [(False, [0.25, 1.0]), (True, [0.25, 0.75])])
def test_a_promoted_trial_pays_in_full_unless_the_problem_lets_it_continue(continues, costs):
    script = Script([(0.5, 1.0), (0.5, 4.0)], before={1: 1.0})
    simulate(replace(LINE, continues=continues), script, n_workers=1, budget=1.2)
    assert script.costs == costs


def test_what_is_maximised_counts_with_its_sign_turned():
    upwards = replace(LINE, objectives={"a": "minimize", "b": "maximize"}, reference_point=(1.0, 0.0))
    trace = simulate(upwards, Script([(0.25, 4.0)]), n_workers=1, budget=1)
    assert trace.hypervolume[-1] == pytest.approx(0.75 * 0.75 / 0.5)
