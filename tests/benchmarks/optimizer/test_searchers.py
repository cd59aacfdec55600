from __future__ import annotations

from importlib import import_module

import pytest
from ConfigSpace import Configuration

from tests.benchmarks.optimizer.digits import DIGITS_DEPTH
from tests.benchmarks.optimizer.mixed import MIXED
from tests.benchmarks.optimizer.problem import Problem
from tests.benchmarks.optimizer.searcher import SEARCHERS, Ask, Searcher, make_searcher
from tests.benchmarks.optimizer.simulate import simulate

BUDGET = 6


class Watched:
    """A searcher whose every ask is kept, and refused unless the problem's space has it."""

    def __init__(self, searcher: Searcher, problem: Problem) -> None:
        self._searcher, self._problem, self._space = searcher, problem, problem.space(0)
        self.asks: list[Ask] = []

    def ask(self) -> Ask | None:
        ask = self._searcher.ask()
        if ask is not None:
            lowest, highest = self._problem.fidelity
            assert lowest <= ask.fidelity <= highest
            Configuration(self._space, values=ask.config).check_valid_configuration()
            self.asks.append(ask)
        return ask

    def tell(self, trial_id, values, cost) -> None:
        self._searcher.tell(trial_id, values, cost)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("problem", [MIXED, DIGITS_DEPTH], ids=lambda problem: problem.name)
@pytest.mark.parametrize("name", SEARCHERS)
def test_every_optimizer_spends_its_budget_on_configs_that_the_space_has(name, problem):
    try:
        import_module(SEARCHERS[name].partition(":")[0])
    except ImportError as error:
        pytest.skip(f"the extra peers is not installed: {error}")
    watched = Watched(make_searcher(name, problem, n_workers=3, seed=0, budget=BUDGET), problem)
    trace = simulate(problem, watched, n_workers=3, budget=BUDGET)
    spent = sum(problem.price(ask.config, ask.fidelity, ask.continued_from) for ask in watched.asks)
    assert BUDGET <= spent + 1e-9 < BUDGET + 1
    assert len(trace.tell_seconds) == len(watched.asks)


def test_ours_in_full_asks_for_full_fidelity_alone():
    watched = Watched(make_searcher("greenshift-full", MIXED, n_workers=2, seed=0, budget=BUDGET), MIXED)
    simulate(MIXED, watched, n_workers=2, budget=BUDGET)
    assert {ask.fidelity for ask in watched.asks} == {MIXED.fidelity[1]}
