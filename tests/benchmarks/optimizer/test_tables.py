from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.benchmarks.optimizer.plot import write_plot
from tests.benchmarks.optimizer.results import Outcome, Run
from tests.benchmarks.optimizer.tables import quality_table, quartiles, time_table, values_at


def outcome(level: float, budget: int = 200) -> Outcome:
    """A search that stays at one hypervolume."""
    return Outcome((level,) * (budget // 5), 300, 60, 0.125, 12.5, 100.0, 0.5)


RESULTS = {
    **{Run("momf-park", "greenshift", 8, seed, 200): outcome(0.5 + 0.1 * seed) for seed in range(5)},
    **{Run("momf-park", "random", 8, seed, 100): outcome(0.4, 100) for seed in range(3)},
    Run("momf-park", "random", 8, 0, 200): outcome(0.3),
    Run("momf-park", "random", 1, 0, 200): outcome(0.2),
}


def shown(table) -> str:
    out = StringIO()
    Console(width=140, file=out).print(table)
    return out.getvalue()


def test_the_better_one_comes_first_with_median_and_quartiles():
    text = shown(quality_table(RESULTS, "momf-park", 8))
    assert "0.700 [0.600 0.800]" in text
    assert text.index("greenshift") < text.index("random")


def test_of_runs_of_one_seed_the_largest_budget_counts():
    group = {run: o for run, o in RESULTS.items() if (run.optimizer, run.workers) == ("random", 8)}
    assert sorted(values_at(group, 100)) == [0.3, 0.4, 0.4]
    assert values_at(group, 200) == [0.3]


def test_what_asking_costs_stands_for_each_number_of_workers():
    text = shown(time_table(RESULTS))
    assert text.count("random") == 2
    assert "12.5" in text


def test_times_that_were_not_measured_are_none_and_not_zero():
    run = Run("momf-park", "random", 1, 0, 200)
    unmeasured = replace(outcome(0.5), ask_ms=None, slowest_ask_ms=None, tell_ms=None)
    row = next(line for line in shown(time_table({run: unmeasured})).splitlines() if "random" in line)
    assert row.split("│")[3:6] == ["         - ", "               - ", "         - "]


@pytest.mark.parametrize(("values", "expected"), [([0.5], (0.5, 0.5, 0.5)), ([4, 1, 3, 2, 0], (1, 2, 3))])
def test_quartiles_of_few(values, expected):
    assert quartiles(values) == expected


def test_the_plot_names_the_optimizers_and_the_problems(tmp_path: Path):
    write_plot(tmp_path / "plot.svg", RESULTS, ["momf-park"], [1, 8])
    text = (tmp_path / "plot.svg").read_text()
    for said in ("greenshift", "random", "momf-park, 8 workers", "share of the best hypervolume"):
        assert said in text
