from __future__ import annotations

from datetime import UTC, datetime

import pytest

from service.baselines import baselines
from service.report.words import (
    amount,
    baseline,
    beaten,
    caveat,
    extent,
    found,
    provenance,
    recipe,
    tally,
    things,
    title,
    with_integers,
)
from service.schema import Study, StudySpec
from tests.service.fakes import FACTS, completed, energy_report, failed, full_trial, measurement, study_spec, trial
from worker.schema import InferenceEnergy

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (7.4e-7, "J / image", "740 nJ / image"),
        (8e-7, "J / image", "800 nJ / image"),
        (1.25e-6, "J / image", "1.25 µJ / image"),
        (1234.0, "J", "1.23 kJ"),
        (25.0, "J", "25 J"),
        (0.0123, "gCO2eq", "12.3 mgCO2eq"),
        (0.04321, "ratio", "0.0432"),
        (0.0015, "", "0.0015"),
        (123456.0, "", "1.235e+05"),
    ],
)
def test_an_amount_has_three_digits_and_a_unit_with_its_prefix(value: float, unit: str, expected: str) -> None:
    assert amount(measurement(value, unit=unit)) == expected


@pytest.mark.parametrize("nothing", [None, measurement(None)])
def test_what_was_not_measured_is_unknown(nothing: object) -> None:
    assert amount(nothing) == "unknown"


@pytest.mark.parametrize("joules", [5.2e6, 999.7, 999_800.0])
def test_an_amount_is_never_written_as_a_power_of_ten(joules: float) -> None:
    assert "e+" not in amount(measurement(joules, unit="J"))


def test_provenance_names_every_way_in_which_a_value_was_obtained() -> None:
    exact = {"error": measurement(0.1, "evaluation", "measured")}
    trials = [full_trial("a", 0.1, 1.0), trial("b", completed("b", objectives=exact))]
    assert provenance("error", trials) == "estimated, analytic or measured, evaluation"
    assert provenance("deployment_energy", trials) == "estimated, analytic"


def test_provenance_without_values_is_unknown() -> None:
    assert provenance("energy", [trial("a"), trial("b", completed("b", energy=None))]) == "unknown"


def test_energy_per_inference_is_told_apart_from_energy() -> None:
    inference = InferenceEnergy(
        joules_per_image=0.1, uncertainty_joules_per_image=None, n_images=1, n_passes=1, report=energy_report(7.0)
    )
    result = completed("a").model_copy(update={"inference": inference})

    assert title("inference_energy") == "energy per inference"
    assert "Energy per inference is that of passes repeated" in caveat([trial("a", result)])
    assert "Energy per inference" not in caveat([trial("b", completed("b"))])


def test_a_recipe_names_quantizer_bits_and_optimizer() -> None:
    config = {
        "quantizer": "deepshift-q",
        "weight_bits": 4,
        "activation_integer_bits": 8,
        "activation_fraction_bits": 2,
        "optimizer": "adam",
    }
    assert recipe(full_trial("a", 0.1, 1.0, config=config)) == "deepshift-q w4 a8+2 adam"


def test_a_recipe_has_no_none_for_a_space_that_leaves_a_trait_out() -> None:
    assert "None" not in recipe(full_trial("a", 0.1, 1.0, config={"learning_rate": 0.1}))


def test_every_objective_has_a_title() -> None:
    names = ("error", "energy", "emissions", "deployment_energy")
    assert [title(n) for n in names] == ["validation error", "energy", "emissions", "deployment energy"]


def test_every_baseline_of_a_study_has_words():
    study = Study(study_id="s", spec=study_spec(baselines=["deepshift-recommended"]), state="WAITING", created_at=NOW)
    assert [baseline(t) for t in baselines(study, FACTS)] == [
        "the default (DeepShift-PS, 5 bits, 16+16)",
        "the default trained as DeepShift advises (RAdam, 0.01)",
    ]


def test_what_beats_the_default_is_told_in_the_studys_objectives_and_on_shift_hardware():
    def of(name, error, grams, joules):
        return trial(name, completed(name, error=error, emissions=grams, deployment_energy=joules))

    spec = study_spec(objectives={"error": "minimize", "emissions": "minimize"})
    default = of("default", 0.3, 3.0, 2.0).model_copy(update={"is_default": True})
    trials = [default, of("a", 0.1, 2.0, 1.0), of("b", 0.2, 1.0, 9.0)]
    assert beaten(spec, trials) == (
        "2 of them dominate the default (DeepShift-PS, 5 bits, 16+16) in validation error and emissions; "
        "in validation error and deployment energy, 1 do"
    )


def test_trials_that_tie_are_counted_and_said():
    a, b = full_trial("a", 0.1, 2.0), full_trial("b", 0.2, 1.0)
    twins = [a, full_trial("c", 0.1, 2.0)]
    assert found(study_spec(), [a, b]) == "On the front: 2 networks; there is no default yet."
    assert found(study_spec(), [*twins, b]) == "On the front: 3 networks (2 distinct points); there is no default yet."
    assert found(study_spec(), twins) == "On the front: 2 networks (1 distinct point); there is no default yet."


def test_the_integers_are_told_where_they_are_known():
    known = completed("a", error=0.1).model_copy(update={"int8_deployment_energy": measurement(2e-6, unit="J / image")})
    assert with_integers([trial("b", failed("b")), trial("a", known)]).endswith(
        "is estimated at 2 µJ / image (analytic)."
    )
    assert with_integers([trial("b", failed("b"))]) == ""


def test_trials_are_told_by_state():
    trials = [full_trial("a", 0.1, 1.0), trial("b", completed("b"), is_full=False), trial("c")]
    assert tally(trials) == "3 trials so far, 1 of them completed at full fidelity: 2 COMPLETED, 1 WAITING."
    assert tally(trials[2:]) == "1 trial so far, 0 of them completed at full fidelity: 1 WAITING."


def test_without_a_default_nothing_is_said_to_beat_it():
    assert beaten(study_spec(), [full_trial("a", 0.1, 1.0)]) == "there is no default yet"


def test_the_caveat_says_that_shifts_are_simulated() -> None:
    assert "simulated" in caveat([])
    assert "analytic estimate" in caveat([])


@pytest.mark.parametrize(("name", "words"), [("latency", "latency"), ("peak_memory_bytes", "peak memory")])
def test_objectives_besides_the_four_have_a_title(name, words):
    assert title(name) == words


@pytest.mark.parametrize(("family", "said"), [("shift", "deepshift-ps w5 a16+16 adam"), ("int8", "int8 adam")])
def test_a_recipe_says_what_its_family_has(family, said):
    adam = trial("a", completed("a")).model_copy(update={"family": family, "config": {"optimizer": "adam"}})

    assert recipe(adam) == said


OF_A_TASK = {"shift_depth": None, "epochs": None, "config": {"rate": 0.123456, "start": "low", "n": 1_000_000}}


def test_of_a_task_words_say_the_whole_config_and_nothing_of_shifts():
    evaluated = trial("default", completed("default"), is_default=True, **OF_A_TASK)

    assert recipe(evaluated) == "rate 0.1235, start low, n 1000000"
    assert baseline(evaluated) == "the default"
    assert caveat([evaluated]) == (
        "Energy is estimated by a model of fake, not measured: it grows with the load of the machine."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "depth 10, epochs 20"),
        (OF_A_TASK | {"fidelity": 10 / 3}, "fidelity 3.333"),
        (OF_A_TASK | {"fidelity": None}, "in full"),
    ],
)
def test_how_much_of_a_trial_was_done(changes, said):
    assert extent(trial("a", **changes)) == said


def test_the_default_of_a_task_is_beaten_in_the_studys_objectives_and_their_directions():
    space = {"hyperparameters": []}
    spec = StudySpec.load(
        {"name": "toy", "task": "t", "space": space, "fidelity": None, "budget": {"n_trials": 3}}
        | {"objectives": {"loss": "minimize", "calm_hours": "maximize"}}
    )

    def evaluated(trial_id, loss, hours, **changes):
        values = {"loss": measurement(loss), "calm_hours": measurement(hours)}
        return trial(trial_id, completed(trial_id, objectives=values), **OF_A_TASK, **changes)

    trials = [evaluated("default", 2.0, 5.0, is_default=True), evaluated("a", 1.0, 6.0), evaluated("b", 0.5, 4.0)]

    assert beaten(spec, trials) == "1 of them dominate the default in loss and calm hours"
    assert (things(spec), things(study_spec())) == ("configurations", "networks")
    assert (things(spec, 1), things(study_spec(), 1)) == ("configuration", "network")
