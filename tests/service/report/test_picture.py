from __future__ import annotations

import struct

import pytest

from service.report.palette import rendered
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
