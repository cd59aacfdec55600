"""Results as tables: median and quartiles of the seeds once so much was spent, and what asking costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable

from rich.table import Table

from tests.benchmarks.optimizer.results import Outcome, Run
from tests.benchmarks.optimizer.runner import Results

CHECKPOINTS = (20, 50, 100, 200)


def quality_table(results: Results, problem: str, workers: int) -> Table:
    """One row an optimizer, the best first: share of the best hypervolume at each checkpoint."""
    table = Table(title=f"{problem}, {workers} worker{'s' if workers > 1 else ''}: share of the best hypervolume")
    table.add_column("optimizer")
    for checkpoint in CHECKPOINTS:
        table.add_column(f"after {checkpoint}", justify="right")
    table.add_column("seeds", justify="right")
    rows = [(name, group) for name, group in by_optimizer(results, problem, workers).items()]
    for name, group in sorted(rows, key=lambda row: -_rank(row[1])):
        seeds = {run.seed for run in group}
        table.add_row(name, *(_cell(values_at(group, c)) for c in CHECKPOINTS), str(len(seeds)))
    return table


def time_table(results: Results) -> Table:
    """One row an optimizer and number of workers: medians over all problems and seeds."""
    table = Table(title="what asking costs in processor time: medians of all problems and seeds")
    for heading in ("optimizer", "workers", "ms an ask", "slowest ask, ms", "ms a tell", "trials", "in full", "idle"):
        table.add_column(heading, justify="left" if heading == "optimizer" else "right")
    groups: dict[tuple[str, int], list[Outcome]] = defaultdict(list)
    for run, outcome in results.items():
        groups[run.optimizer, run.workers].append(outcome)
    for (name, workers), outcomes in sorted(groups.items()):
        table.add_row(
            name,
            str(workers),
            _median(outcomes, lambda o: o.ask_ms, "{:.1f}"),
            _median(outcomes, lambda o: o.slowest_ask_ms, "{:.0f}"),
            _median(outcomes, lambda o: o.tell_ms, "{:.2f}"),
            _median(outcomes, lambda o: o.n_trials, "{:.0f}"),
            _median(outcomes, lambda o: o.n_full, "{:.0f}"),
            _median(outcomes, lambda o: 100 * o.idle_share, "{:.1f} %"),
        )
    return table


def by_optimizer(results: Results, problem: str, workers: int) -> dict[str, Results]:
    """The runs of a problem on so many workers, of each optimizer."""
    groups: dict[str, Results] = defaultdict(dict)
    for run, outcome in results.items():
        if (run.problem, run.workers) == (problem, workers):
            groups[run.optimizer][run] = outcome
    return dict(groups)


def values_at(group: Results, spent: int) -> list[float]:
    """A value of each seed: of its run with the largest budget, where that spent so much."""
    largest: dict[int, tuple[Run, Outcome]] = {}
    for run, outcome in group.items():
        if run.seed not in largest or run.budget > largest[run.seed][0].budget:
            largest[run.seed] = run, outcome
    return [outcome.at(spent) for run, outcome in largest.values() if run.budget >= spent]


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return ordered[0], ordered[0], ordered[0]
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return low, middle, high


def _median(outcomes: list[Outcome], field: Callable[[Outcome], float | None], shown: str) -> str:
    """Of what was measured; - where nothing was."""
    values = [value for value in map(field, outcomes) if value is not None]
    return shown.format(statistics.median(values)) if values else "-"


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    low, middle, high = quartiles(values)
    return f"{middle:.3f} [{low:.3f} {high:.3f}]"


def _rank(group: Results) -> float:
    """The median at the largest checkpoint that all have: 100."""
    values = values_at(group, 100) or values_at(group, 20)
    return statistics.median(values) if values else 0.0
