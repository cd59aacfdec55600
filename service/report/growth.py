"""How the hypervolume of a study grew from one finished trial to the next."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from service import pareto
from service.analysis.growth import finished, growth
from service.ranking import alike, comparable, costs
from service.report.palette import FRONT, Picture, entitle, explain, mark_of, say_why_empty
from service.report.words import baseline, reference, things, volume_unit
from service.schema import StudySpec, Trial


@dataclass(frozen=True)
class Curve:
    """The hypervolume after each finished trial, all from the reference point of today.

    Attributes:
        hypervolumes: one a finished trial of the search, in the order in which they ended.
        reference_point: by objective, in their own signs.
        baselines: what each trial that the search is compared with spans alone; those known in another way are left
            out.
    """

    hypervolumes: list[float]
    reference_point: dict[str, float]
    baselines: list[tuple[Trial, float]]


def curve(spec: StudySpec, trials: list[Trial]) -> Curve | None:
    """None where no trial can be compared yet."""
    grown, candidates = growth(spec, trials), comparable(spec, trials)
    if grown.whole is None:
        return None
    changes = {trial.trial_id: value for trial, value in grown.changes}
    hypervolumes = list(accumulate((changes.get(t.trial_id, 0.0) for t in finished(trials)), max))
    point = pareto.reference_point(costs(spec, candidates))
    alone = [(t, pareto.hypervolume(costs(spec, [t]), point)) for t in trials
             if t.is_default and alike(t, candidates[0], spec.objectives)]  # fmt: skip
    return Curve(hypervolumes, grown.whole.reference_point, alone)


def growth_figure(spec: StudySpec, trials: list[Trial]) -> Figure:
    """The hypervolume over finished trials, and as lines what each baseline spans alone."""
    figure = Picture(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    found = curve(spec, trials)
    if found is not None:
        steps = range(1, len(found.hypervolumes) + 1)
        axes.step(steps, found.hypervolumes, where="post", color=FRONT, linewidth=2, label="front of the search")
        for (trial, value), dashes in zip(found.baselines, ((6, 3), (2, 2)), strict=False):
            name = baseline(trial).removeprefix("the ")
            beyond = "" if value else ": beyond the reference point"
            axes.axhline(value, color=mark_of(trial)["color"], dashes=dashes, label=f"{name}, alone{beyond}")
        explain(figure, axes.get_legend_handles_labels()[0], ncols=1)
        point = reference(spec, trials, found.reference_point)
        axes.set_xlabel(f"finished trials of the search\nreference point: {point}")
        axes.set_ylabel(f"hypervolume ({volume_unit(spec, trials)})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    else:
        say_why_empty(axes, f"no {things(spec, 1)} has completed at full fidelity yet")
        axes.set_ylabel("hypervolume")
    entitle(figure, axes, spec)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure
