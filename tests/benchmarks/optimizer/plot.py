"""The plot: median hypervolume of each optimizer against what was spent, with quartiles, a panel for each problem."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks.optimizer.results import STEP
from tests.benchmarks.optimizer.runner import Results
from tests.benchmarks.optimizer.searcher import OURS, SEARCHERS
from tests.benchmarks.optimizer.tables import by_optimizer, quartiles, values_at

# No colour tells two lines apart alone; ours is thick.
_COLOURS = ("#12805c", "#7fbf9f", "#d1495b", "#7d8597", "#3b6ea8",
            "#e0a030", "#8a5fbf", "#b5651d", "#2f9ec1", "#444444")  # fmt: skip
_STYLES = ("-", (0, (2, 1)), "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)), (0, (3, 5)))
_LOOKS = dict(zip(SEARCHERS, zip(_COLOURS, _STYLES, strict=True), strict=True))


def write_plot(path: Path, results: Results, problems: list[str], n_workers: list[int]) -> None:
    """Draws a PNG or SVG file, a row for each number of workers."""
    figure = Figure(figsize=(4 * len(problems), 3.2 * len(n_workers)), layout="constrained")
    panels = figure.subplots(len(n_workers), len(problems), squeeze=False)
    for row, workers in zip(panels, n_workers, strict=True):
        for axes, problem in zip(row, problems, strict=True):
            _draw(axes, results, problem, workers)
            axes.set_title(f"{problem}, {workers} worker{'s' if workers > 1 else ''}", loc="left", fontsize=9)
        row[0].set_ylabel("share of the best hypervolume")
    for axes in panels[-1]:
        axes.set_xlabel("spent, in evaluations at full fidelity")
    lines = {label: line for axes in panels.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if lines:
        names = sorted(lines, key=list(SEARCHERS).index)
        figure.legend([lines[name] for name in names], names, loc="outside lower center", ncols=5, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _draw(axes: Axes, results: Results, problem: str, workers: int) -> None:
    for name, group in by_optimizer(results, problem, workers).items():
        grid = range(STEP, max(run.budget for run in group) + 1, STEP)
        spent = [at for at in grid if values_at(group, at)]
        if not spent:
            continue
        low, middle, high = zip(*(quartiles(values_at(group, at)) for at in spent), strict=True)
        colour, style = _LOOKS[name]
        axes.plot(spent, middle, color=colour, linestyle=style, linewidth=2.4 if name == OURS else 1.2, label=name)
        axes.fill_between(spent, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
