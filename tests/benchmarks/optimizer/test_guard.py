"""A fast part of the benchmark that a change for the worse does not pass."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from zlib import crc32

import pytest

from tests.benchmarks.optimizer.problem import Config, Problem, Values
from tests.benchmarks.optimizer.problems import PROBLEMS
from tests.benchmarks.optimizer.results import Run
from tests.benchmarks.optimizer.runner import measure
from tests.benchmarks.optimizer.searcher import make_searcher
from tests.benchmarks.optimizer.simulate import simulate

pytestmark = pytest.mark.slow
BUDGET, SEEDS = 40, (100, 101, 102)
# Shares of the best hypervolume on 1 and 8 workers: random search has 0.48, 0.44, 0.60, 0.45, 0.81 and 0.81. Where ours
# found 0.96 to 1 the least is 0.03 less, elsewhere a tenth.
LEAST = {
    "momf-branin-currin": (0.95, 0.94),
    "momf-park": (0.94, 0.92),
    "mixed-zdt": (0.73, 0.73),
    "dtlz2-three": (0.54, 0.48),
    "digits-epochs": (0.97, 0.97),
    "digits-depth": (0.97, 0.97),
}


def median(problem: str, n_workers: int) -> float:
    """Share of the best hypervolume in the end."""
    return statistics.median(
        measure(Run(problem, "greenshift", n_workers, seed, BUDGET)).hypervolume[-1] for seed in SEEDS
    )


@pytest.mark.parametrize("problem", LEAST)
@pytest.mark.parametrize("n_workers", [1, 8])
def test_the_search_finds_as_much_as_it_did(problem: str, n_workers: int) -> None:
    assert median(problem, n_workers) >= LEAST[problem][n_workers > 1]


def inverted(problem: Problem) -> Problem:
    """The same with low fidelities that say the opposite of full fidelity."""

    def evaluate(config: Config, fidelity: float) -> Values:
        values = problem.evaluate(config, problem.fidelity[1])
        return values if fidelity == problem.fidelity[1] else {name: -value for name, value in values.items()}

    return replace(problem, evaluate=evaluate)


def unrelated(problem: Problem) -> Problem:
    """The same with low fidelities that say at random what another config would give."""
    others = [dict(config) for config in problem.space(0).sample_configuration(500)]

    def evaluate(config: Config, fidelity: float) -> Values:
        other = others[crc32(repr(sorted(config.items())).encode()) % len(others)]
        return problem.evaluate(config if fidelity == problem.fidelity[1] else other, problem.fidelity[1])

    return replace(problem, evaluate=evaluate)


@pytest.mark.parametrize("misled", [inverted, unrelated])
@pytest.mark.parametrize("n_workers", [1, 8])
def test_low_fidelities_that_mislead_cost_little(misled: Callable[[Problem], Problem], n_workers: int) -> None:
    problem = misled(PROBLEMS["momf-park"])
    medians = [
        statistics.median(
            simulate(problem, make_searcher(name, problem, n_workers, seed, 60), n_workers=n_workers, budget=60).at(60)
            for seed in SEEDS
        )
        for name in ("greenshift", "greenshift-full")
    ]
    assert medians[0] >= 0.98 * medians[1]
