"""The front as a picture: all full-fidelity trials, the front among them, and the default as a mark of its own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from service.compared import DEFAULT_TRIAL_ID, RECOMMENDED_TRIAL_ID
from service.ranking import comparable, front
from service.report.words import baseline, provenance, things, title
from service.schema import StudySpec, Trial

_UNITS = {"energy": "J", "emissions": "gCO2eq", "deployment_energy": "J", "inference_energy": "J"}

# What the search is compared with; no colour tells these apart alone.
_MARKS: dict[str, dict[str, object]] = {
    DEFAULT_TRIAL_ID: {"marker": "*", "color": "#d1495b", "s": 220},
    RECOMMENDED_TRIAL_ID: {"marker": "P", "color": "#b5651d", "s": 120},
}


def png(spec: StudySpec, trials: list[Trial]) -> bytes:
    """The picture as a PNG."""
    file = io.BytesIO()
    write_picture(file, spec, trials)
    return file.getvalue()


def write_picture(file: Path | BinaryIO, spec: StudySpec, trials: list[Trial]) -> None:
    """Draws the first two objectives against each other into a PNG, or an SVG where a path ends so."""
    y, x = list(spec.objectives)[:2]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    others = comparable(spec, trials)
    best = sorted(front(spec, trials), key=lambda t: t.value(x) or 0.0)
    _scatter(axes, others, x, y, marker="o", color="#b0b8c0", s=22, label=f"other {things(spec)}")
    # Only between two costs does nothing lie between the points of a front.
    joins = len(spec.objectives) == 2 and set(spec.objectives.values()) == {"minimize"}
    axes.plot(
        [t.value(x) for t in best], [t.value(y) for t in best],  # type: ignore[arg-type]
        "o-" if joins else "o", drawstyle="steps-post", color="#12805c", markersize=8, label="Pareto front",
    )  # fmt: skip
    for trial in trials:
        if trial.is_default and trial.value(x) is not None:
            style = _MARKS.get(trial.trial_id, _MARKS[DEFAULT_TRIAL_ID])
            _scatter(axes, [trial], x, y, zorder=3, label=baseline(trial).removeprefix("the "), **style)
    axes.set_xlabel(_label(x, trials))
    axes.set_ylabel(_label(y, trials))
    for axis, name in ((axes.xaxis, x), (axes.yaxis, y)):
        if name in _UNITS:
            axis.set_major_formatter(EngFormatter(_UNITS[name]))
    axes.set_title(f"{spec.name}: {spec.subject}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def _label(objective: str, trials: list[Trial]) -> str:
    per_image = " per image" if objective == "deployment_energy" else ""
    return f"{title(objective)}{per_image} ({provenance(objective, trials)})"


def _scatter(axes: Axes, trials: list[Trial], x: str, y: str, **style: object) -> None:
    if trials:
        axes.scatter(
            [t.value(x) for t in trials],  # type: ignore[arg-type]
            [t.value(y) for t in trials],  # type: ignore[arg-type]
            **style,  # type: ignore[arg-type]
        )
