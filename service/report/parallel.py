"""Hyperparameters and objectives side by side: what the networks of a front have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from service.ranking import comparable, front
from service.report.palette import FRONT, OTHERS, Picture, entitle, explain, mark_of
from service.report.tables import hyperparameters_of
from service.report.words import amount, baseline, provenance, things, title
from service.schema import StudySpec, Trial
from worker.schema import Measurement

# A number that differs by more than that factor is shown by its logarithm.
_MANY_TIMES = 50.0
_INCHES_PER_AXIS = 1.25
_PAPER = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


@dataclass(frozen=True)
class _Axis:
    """One vertical axis: where each trial that has a value stands on it, 0..1, and what is written beside it."""

    name: str
    places: dict[str, float]
    ticks: list[tuple[float, str]]


def parallel_figure(spec: StudySpec, trials: list[Trial]) -> Figure:
    """A line for each comparable trial and each baseline, over all that differs among them and the objectives."""
    others, best = comparable(spec, trials), front(spec, trials)
    compared = [t for t in trials if t.is_default and t.result is not None]
    axes_of = _axes(spec, [*others, *compared])
    figure = Picture(figsize=(max(6.0, _INCHES_PER_AXIS * len(axes_of)), 4.5), layout="constrained")
    axes = figure.add_subplot()
    on_front = {t.trial_id for t in best}
    for trial in (t for t in others if t.trial_id not in on_front):
        _draw(axes, axes_of, trial, color=OTHERS, alpha=0.5, linewidth=0.8)
    for trial in best:
        _draw(axes, axes_of, trial, color=FRONT, linewidth=1.8)
    for trial in compared:
        _draw(axes, axes_of, trial, color=mark_of(trial)["color"], linewidth=1.8, linestyle="--")
    for x, axis in enumerate(axes_of):
        axes.axvline(x, color="#333333", linewidth=0.8)
        for y, text in axis.ticks:
            axes.annotate(text, (x, y), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center", bbox=_PAPER)
    axes.set_xticks(range(len(axes_of)), [axis.name for axis in axes_of], rotation=30, ha="right")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    entitle(figure, axes, spec)
    handles = [Line2D([], [], color=FRONT, label="Pareto front"),
               Line2D([], [], color=OTHERS, label=f"other {things(spec)}"),
               *(Line2D([], [], color=mark_of(t)["color"], linestyle="--", label=baseline(t).removeprefix("the "))
                 for t in compared)]  # fmt: skip
    explain(figure, handles)
    return figure


def _draw(axes: Axes, axes_of: list[_Axis], trial: Trial, **style: Any) -> None:
    """A line over the axes that the trial has a value on: a hyperparameter may be inactive."""
    points = [(x, axis.places[trial.trial_id]) for x, axis in enumerate(axes_of) if trial.trial_id in axis.places]
    axes.plot([x for x, _ in points], [y for _, y in points], **style)


def _axes(spec: StudySpec, trials: list[Trial]) -> list[_Axis]:
    found = []
    for name in hyperparameters_of(trials):
        values = {t.trial_id: t.config[name] for t in trials if t.config.get(name) is not None}
        if len(set(map(str, values.values()))) > 1:
            found.append(_axis(name, values, _short))
    for name in spec.objectives:
        measured = {t.trial_id: m for t in trials if (m := t.measurement(name)) is not None and m.value is not None}
        if measured:
            sample = next(iter(measured.values()))
            named = f"{title(name)}\n({provenance(name, trials)})"
            found.append(_axis(named, {key: m.value for key, m in measured.items()}, partial(_said, sample)))
    return found


def _axis(name: str, values: dict[str, Any], said: Callable[[Any], str]) -> _Axis:
    """Numbers from the least to the greatest, and all else in the order of its letters."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values.values()):
        choices = sorted(set(map(str, values.values())))
        heights = {choice: i / max(1, len(choices) - 1) for i, choice in enumerate(choices)}
        places = {key: heights[str(value)] for key, value in values.items()}
        return _Axis(name, places, [(y, choice) for choice, y in heights.items()])
    low, high = min(values.values()), max(values.values())
    is_log = low > 0 and high / low > _MANY_TIMES
    scale: Callable[[float], float] = math.log if is_log else float
    span = (scale(high) - scale(low)) or 1.0
    places = {key: (scale(value) - scale(low)) / span for key, value in values.items()}
    ticks = [(0.0, said(low)), *([(1.0, said(high))] if high > low else [])]
    return _Axis(f"{name} (log)" if is_log else name, places, ticks)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _said(sample: Measurement, value: float) -> str:
    return amount(sample.model_copy(update={"value": value}))
