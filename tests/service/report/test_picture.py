from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from service.report.growth import growth_figure
from service.report.palette import rendered
from service.report.parallel import parallel_figure
from service.report.picture import front_figure, png
from service.schema import Trial
from tests.service.fakes import completed, full_trial, measurement, study_spec, trial

TWO = (("error", 0.1), ("deployment_energy", 3e-7))
TRIALS = [
    full_trial("default", 0.3, 9e-7, is_default=True),
    full_trial("default-recommended", 0.25, 8e-7, is_default=True),
    full_trial("00001", 0.1, 3e-7),
    full_trial("00002", 0.2, 2e-7),
]


def test_the_picture_is_a_png_of_some_size() -> None:
    content = png(study_spec(), TRIALS)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    assert width > 600
    assert height > 400


def svg(trials: list[Trial]) -> str:
    return rendered(front_figure(study_spec(), trials), "svg").decode()


def test_the_picture_names_axes_and_the_default() -> None:
    text = svg(TRIALS)
    for said in (
        "deployment energy",
        "error",
        "estimated, analytic",
        "Pareto front",
        "default (DeepShift-PS",
        "as DeepShift advises",
    ):
        assert said in text


def test_estimated_figures_are_hollow_and_measured_ones_full() -> None:
    objectives = {name: measurement(value, "evaluation", "measured") for name, value in TWO}
    measured = trial("00001", completed("00001", objectives=objectives))
    said = "hollow: a figure is estimated"
    assert said in svg([measured, TRIALS[0]])
    assert "hollow" not in svg([measured])
    assert "hollow: estimated, as all are here" in svg(TRIALS)


def test_the_same_trials_make_the_same_file() -> None:
    assert svg(TRIALS) == svg(TRIALS)


@pytest.mark.parametrize(
    ("errors", "scale"), [((0.002, 0.9), "log"), ((0.2, 0.9), "linear"), ((0.0, 0.9), "linear"), ((), "linear")]
)
def test_figures_that_span_decades_do_not_lie_flat_on_zero(errors: tuple[float, ...], scale: str) -> None:
    trials = [full_trial(f"{i:05}", error, 1e-7 * (i + 1)) for i, error in enumerate(errors)]
    (axes,) = front_figure(study_spec(), trials).axes
    assert (axes.get_yscale(), axes.get_xscale()) == (scale, "linear")
    assert [text.get_text() for text in axes.get_yticklabels() if "$" in text.get_text()] == []


@pytest.mark.parametrize("draw", [front_figure, growth_figure, parallel_figure])
def test_the_legend_covers_nothing_and_is_not_cut(draw: Callable[..., Figure]) -> None:
    figure = drawn(draw(study_spec(), TRIALS))
    (axes,), (legend,) = figure.axes, figure.legends
    box = legend.get_window_extent()
    assert not axes.get_tightbbox().overlaps(box)
    assert (box.x0 >= 0, box.y0 >= 0, box.x1 <= figure.bbox.x1) == (True, True, True)


def drawn(figure: Figure) -> Figure:
    """The figure once it knows where everything stands."""
    FigureCanvasAgg(figure).draw()
    return figure


def test_an_axis_says_how_the_figures_beside_it_are_known() -> None:
    measured = {name: measurement(value, "evaluation", "measured") for name, value in TWO}
    trials = [trial("00001", completed("00001", objectives=measured)), full_trial("00002", 0.2, 1e-7)]
    (axes,) = front_figure(study_spec(), trials).axes
    assert axes.get_xlabel() == "deployment energy per image (measured, evaluation)"


@pytest.mark.parametrize("draw", [front_figure, growth_figure, parallel_figure])
def test_a_long_name_is_not_cut(draw: Callable[..., Figure]) -> None:
    figure = drawn(draw(study_spec(name="a-study-with-a-name" * 5), TRIALS))
    (axes,) = figure.axes
    title = next(each for each in axes.findobj(Text) if each.get_text().startswith("a-study"))
    assert title.get_window_extent().x1 <= figure.bbox.x1


def test_what_is_not_there_yet_has_no_scale() -> None:
    (axes,) = front_figure(study_spec(), []).axes
    assert "no network has completed at full fidelity yet" in svg([])
    assert len(axes.get_xticks()) == 0 and axes.get_xlabel() == "deployment energy per image"
