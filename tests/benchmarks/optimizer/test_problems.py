from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.optimizer.problems import EVERY_PROBLEM
from tests.benchmarks.optimizer.results import COMMITTED, FIRST_DEVELOPMENT_SEED, read
from tests.benchmarks.optimizer.searcher import OURS, SEARCHERS

GUIDE = (Path(__file__).parents[3] / "deploy/docs/optimizer-benchmark.md").read_text()


@pytest.mark.parametrize("problem", EVERY_PROBLEM.values(), ids=EVERY_PROBLEM)
def test_every_config_has_values_for_every_objective_and_costs_less_at_less(problem):
    low, high = problem.fidelity
    for sampled in problem.space(0).sample_configuration(20):
        config = dict(sampled)
        for fidelity in problem.fidelity:
            assert problem.evaluate(config, fidelity).keys() == problem.objectives.keys()
        assert 0 < problem.cost(config, low) < problem.cost(config, high) == pytest.approx(1)
    assert len(problem.reference_point) == len(problem.objectives)


@pytest.mark.parametrize("name", [*EVERY_PROBLEM, *(name for name in SEARCHERS if name != OURS)])
def test_every_problem_and_every_other_optimizer_stands_in_the_guide(name):
    assert f"`{name}`" in GUIDE


def test_what_is_kept_is_of_others_with_seeds_for_reports_and_never_twice():
    for path in COMMITTED.glob("*.jsonl"):
        runs = [run for run, _ in read(path)]
        assert len(runs) == len(set(runs)) == len(path.read_text().splitlines())
        assert {run.optimizer for run in runs} == {path.stem} != {OURS}
        assert max(run.seed for run in runs) < FIRST_DEVELOPMENT_SEED


def test_no_hypervolume_exceeds_the_best_and_none_shrinks():
    for path in COMMITTED.glob("*.jsonl"):
        for _, outcome in read(path):
            assert list(outcome.hypervolume) == sorted(outcome.hypervolume)
            assert 0 <= outcome.hypervolume[-1] <= 1
