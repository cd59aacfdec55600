"""A fast part of the benchmark that a change for the worse does not pass."""

from __future__ import annotations

import statistics

import pytest

from tests.benchmarks.optimizer.results import Run
from tests.benchmarks.optimizer.runner import measure

pytestmark = pytest.mark.slow
BUDGET, SEEDS = 40, (100, 101, 102)


def median(optimizer: str, problem: str) -> float:
    """Share of the best hypervolume in the end, on one worker."""
    return statistics.median(measure(Run(problem, optimizer, 1, seed, BUDGET)).hypervolume[-1] for seed in SEEDS)


@pytest.mark.parametrize("problem", ["momf-branin-currin", "momf-park"])
def test_the_search_finds_far_more_than_random_search_does(problem):
    assert median("greenshift", problem) > median("random", problem) + 0.15
