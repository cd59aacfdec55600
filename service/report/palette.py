"""How a trial looks in every picture: colours that colour-blind people tell apart, and a mark of its own each.

The colours are those of Okabe and Ito; a hollow mark is an estimate, a full one was measured.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.compared import DEFAULT_TRIAL_ID, RECOMMENDED_TRIAL_ID
from service.schema import StudySpec, Trial

FRONT = "#009e73"
OTHERS = "#8a9299"
_DEFAULT = {"marker": "*", "color": "#d55e00", "s": 220}
_MARKS: dict[str, dict[str, Any]] = {
    DEFAULT_TRIAL_ID: _DEFAULT,
    RECOMMENDED_TRIAL_ID: {"marker": "P", "color": "#cc79a7", "s": 120},
}
_LETTERS_PER_INCH = 8
# The same study gives the same file; text stays text, which papers set in their own type and search engines read.
_SVG: dict[Any, Any] = {"svg.hashsalt": "greenshift"}


class Picture(Figure):
    """A figure that a notebook shows as it is, with no help of pyplot."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")


def explain(figure: Figure, handles: Iterable[Any], *, ncols: int = 2) -> None:
    """The legend below the axes, where it covers nothing."""
    figure.legend(handles=handles, frameon=False, loc="outside lower left", ncols=ncols, fontsize="small")


def entitle(figure: Figure, axes: Axes, spec: StudySpec) -> None:
    """Which study it is, above its axes, in as many lines as that takes."""
    letters = round(_LETTERS_PER_INCH * figure.get_figwidth())
    axes.set_title(textwrap.fill(f"{spec.name}: {spec.subject}", letters), loc="left")


def say_why_empty(axes: Axes, why: str) -> None:
    """Words in the place of what there is not yet, and no scale of it."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color="#555555")
    axes.set_xticks([])
    axes.set_yticks([])


def mark_of(trial: Trial) -> dict[str, Any]:
    """The mark of what the search is compared with."""
    return _MARKS.get(trial.trial_id, _DEFAULT)


def is_estimated(trial: Trial, objectives: Iterable[str]) -> bool:
    """Whether one of these figures is a model's, and no measurement."""
    found = (trial.measurement(name) for name in objectives)
    return any(m is not None and m.quality == "estimated" for m in found)


def rendered(figure: Figure, form: str, *, outlines: bool = False) -> bytes:
    """The figure as `png` or `svg`; the same figure gives the same bytes.

    Args:
        figure: what is drawn.
        form: of the file.
        outlines: letters of an SVG are drawn, for programs that know no fonts.
    """
    file = io.BytesIO()
    undated = {"Date": None} if form == "svg" else None
    letters: Any = {"svg.fonttype": "path" if outlines else "none"}
    with matplotlib.rc_context(_SVG | letters):
        figure.savefig(file, format=form, dpi=150, metadata=undated)
    return file.getvalue()
