from __future__ import annotations

import pytest

from service.ranking import volume
from service.report.growth import curve, growth_figure
from service.report.palette import rendered
from service.schema import Trial, TrialState
from tests.service.fakes import completed, failed, full_trial, measurement, study_spec, trial

DEFAULT = full_trial("default", 0.15, 3.5, is_default=True, seq=1)
# Ended in another order than they were asked for.
TRIALS = [
    DEFAULT,
    full_trial("00001", 0.1, 4.0, seq=5),
    full_trial("00002", 0.2, 2.0, seq=3),
    trial("00003", failed("00003"), seq=4),
    full_trial("00004", 0.2, 4.0, seq=6),
]


def test_hypervolume_grows_in_the_order_in_which_trials_ended() -> None:
    found = curve(study_spec(), TRIALS)
    assert found is not None
    # From (0.21, 4.2): first 0.01 x 2.2, then a failure, then 0.1 x 0.2 more, then what is dominated.
    assert found.hypervolumes == pytest.approx([0.022, 0.022, 0.042, 0.042])
    assert found.reference_point == pytest.approx({"error": 0.21, "deployment_energy": 4.2})
    assert [(t.trial_id, value) for t, value in found.baselines] == [("default", pytest.approx(0.06 * 0.7))]


def test_the_last_hypervolume_is_that_of_the_study() -> None:
    found, now = curve(study_spec(), TRIALS), volume(study_spec(), TRIALS)
    assert found is not None and now is not None
    assert found.hypervolumes[-1] == pytest.approx(now.hypervolume)


def test_a_default_that_was_measured_in_another_way_spans_nothing_that_compares() -> None:
    assert DEFAULT.result is not None
    other = DEFAULT.result.objectives["error"].model_copy(update={"method": "another"})
    result = DEFAULT.result.model_copy(update={"objectives": DEFAULT.result.objectives | {"error": other}})
    found = curve(study_spec(), [DEFAULT.model_copy(update={"result": result}), *TRIALS[1:]])
    assert found is not None and found.baselines == []


def test_the_picture_says_what_it_is_measured_from() -> None:
    ways = {"error": ("evaluation", "measured", "ratio"), "deployment_energy": ("analytic", "estimated", "J / image")}

    def in_units(trial: Trial) -> Trial:
        known = {name: measurement(trial.value(name), *how) for name, how in ways.items()}
        return trial.model_copy(update={"result": completed(trial.trial_id, objectives=known)})

    trials = [in_units(each) if each.state is TrialState.COMPLETED else each for each in TRIALS]
    text = rendered(growth_figure(study_spec(), trials), "svg").decode()
    for said in (
        "reference point: validation error 0.2100, deployment energy 4.2 J / image",
        "default (DeepShift-PS",
        "hypervolume (ratio × J / image)",
    ):
        assert said in text


def test_trials_are_counted_in_whole_numbers() -> None:
    (axes,) = growth_figure(study_spec(), TRIALS).axes
    assert {float(tick).is_integer() for tick in axes.get_xticks()} == {True}


def test_no_trial_makes_an_empty_picture() -> None:
    assert curve(study_spec(), [DEFAULT]) is None
    text = rendered(growth_figure(study_spec(), [DEFAULT]), "svg").decode()
    assert "hypervolume" in text and "no network has completed at full fidelity yet" in text
