"""The front as a picture: all full-fidelity trials, the front among them, and the default as a mark of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from service.ranking import comparable, front
from service.report.palette import (
    FRONT,
    OTHERS,
    Picture,
    entitle,
    explain,
    is_estimated,
    mark_of,
    rendered,
    say_why_empty,
)
from service.report.words import baseline, provenance, things, title
from service.schema import StudySpec, Trial

# So many times as much is too much for a linear axis.
_MANY = 20
_UNITS = {"energy": "J", "emissions": "gCO2eq", "deployment_energy": "J", "inference_energy": "J"}


def png(spec: StudySpec, trials: list[Trial]) -> bytes:
    """The picture as a PNG."""
    return rendered(front_figure(spec, trials), "png")


def front_figure(spec: StudySpec, trials: list[Trial]) -> Figure:
    """The first two objectives against each other; a hollow mark is an estimate."""
    y, x = list(spec.objectives)[:2]
    figure = Picture(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    best = sorted(front(spec, trials), key=lambda t: t.value(x) or 0.0)
    on_front = {t.trial_id for t in best}
    others = [t for t in comparable(spec, trials) if t.trial_id not in on_front]
    _scatter(axes, others, x, y, marker="o", color=OTHERS, s=22, label=f"other {things(spec)}")
    _join(axes, spec, best, x, y)
    _scatter(axes, best, x, y, marker="o", color=FRONT, s=64, label="Pareto front")
    compared = [t for t in trials if t.is_default and t.value(x) is not None and t.value(y) is not None]
    for trial in compared:
        _scatter(axes, [trial], x, y, zorder=3, label=baseline(trial).removeprefix("the "), **mark_of(trial))
    shown = [*others, *best, *compared]
    for axis, set_scale, name in ((axes.xaxis, axes.set_xscale, x), (axes.yaxis, axes.set_yscale, y)):
        axis.set_label_text(_label(name, shown))
        spans = _spans_decades([t.value(name) for t in shown])
        if spans:
            set_scale("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_formatter(NullFormatter())
        if spans or name in _UNITS:
            axis.set_major_formatter(EngFormatter(_UNITS[name]) if name in _UNITS else FuncFormatter(_plain))
    entitle(figure, axes, spec)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if shown:
        _explain(figure, axes, shown, [x, y])
    else:
        say_why_empty(axes, f"no {things(spec, 1)} has completed at full fidelity yet")
    return figure


def _spans_decades(values: Sequence[float | None]) -> bool:
    """Whether a linear axis would lay the best of them flat on zero, and a logarithmic one can show them."""
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and max(known) >= _MANY * min(known)


def _plain(value: float, _position: int) -> str:
    return f"{value:g}"


def _join(axes: Axes, spec: StudySpec, best: list[Trial], x: str, y: str) -> None:
    """Steps along the front: only between two costs does nothing lie between its points."""
    if len(spec.objectives) == 2 and set(spec.objectives.values()) == {"minimize"}:
        values: Any = ([t.value(x) for t in best], [t.value(y) for t in best])
        axes.plot(*values, drawstyle="steps-post", color=FRONT, zorder=1)


def _explain(figure: Figure, axes: Axes, shown: list[Trial], objectives: list[str]) -> None:
    """The legend, with a line on what is hollow where something is."""
    handles, _ = axes.get_legend_handles_labels()
    estimates = [is_estimated(trial, objectives) for trial in shown]
    if any(estimates):
        said = "hollow: a figure is estimated" if not all(estimates) else "hollow: estimated, as all are here"
        handles.append(Line2D([], [], marker="o", color="#333333", mfc="white", linestyle="", label=said))
    explain(figure, handles)


def _label(objective: str, trials: list[Trial]) -> str:
    per_image = " per image" if objective == "deployment_energy" else ""
    known = f" ({provenance(objective, trials)})" if trials else ""
    return f"{title(objective)}{per_image}{known}"


def _scatter(axes: Axes, trials: list[Trial], x: str, y: str, *, color: str, **style: Any) -> None:
    if trials:
        faces = ["white" if is_estimated(t, [x, y]) else color for t in trials]
        values: Any = ([t.value(x) for t in trials], [t.value(y) for t in trials])
        axes.scatter(*values, facecolors=faces, edgecolors=color, linewidths=1.4, **style)
