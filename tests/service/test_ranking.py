from __future__ import annotations

import pytest

from service import ranking
from service.errors import InputError
from service.schema import Trial
from tests.service.fakes import completed, failed, full_trial, measurement, study_spec, trial
from worker.schema import InferenceEnergy

SPEC = study_spec()
BASELINES = ("default", "default-recommended")


def ids(trials: list[Trial]) -> list[str]:
    return [t.trial_id for t in trials]


def measured(trial_id: str, error: float, joules: float, method: str, quality: str) -> Trial:
    energy = measurement(joules, method, quality)
    return trial(trial_id, completed(trial_id, error=error, objectives={"energy": energy}))


ENERGY = study_spec(objectives={"error": "minimize", "energy": "minimize"})


@pytest.mark.parametrize(
    "excluded",
    [
        full_trial("x", 0.0, 0.0, is_default=True),
        full_trial("x", 0.0, 0.0, is_full=False, fidelity=3.0),
        full_trial("x", 0.0, 0.0, state="RUNNING"),
        trial("x", failed("x")),
        trial("x", completed("x", error=0.0)),
        trial("x", completed("x", error=0.0, deployment_energy=None)),
        trial("x"),
    ],
    ids=["default", "low fidelity", "running", "failed", "not measured", "unknown", "waiting"],
)
def test_a_trial_that_cannot_be_compared_never_counts(excluded: Trial) -> None:
    others = [full_trial("a", 0.1, 2.0), full_trial("b", 0.2, 1.0)]
    assert ids(ranking.comparable(SPEC, [excluded, *others])) == ["a", "b"]
    assert ids(ranking.front(SPEC, [excluded, *others])) == ["a", "b"]
    assert ranking.volume(SPEC, [excluded, *others]) == ranking.volume(SPEC, others)


def test_the_front_is_sorted_by_the_first_objective() -> None:
    trials = [full_trial("c", 0.3, 1.0), full_trial("a", 0.1, 3.0), full_trial("b", 0.2, 2.0)]
    assert ids(ranking.front(SPEC, trials)) == ["a", "b", "c"]


def test_a_dominated_trial_is_not_on_the_front() -> None:
    assert ids(ranking.front(SPEC, [full_trial("a", 0.1, 1.0), full_trial("b", 0.1, 2.0)])) == ["a"]


def test_of_two_methods_the_more_trusted_counts_however_rare() -> None:
    trials = [
        measured("a", 0.1, 1.0, "codecarbon", "estimated"),
        measured("b", 0.2, 0.5, "codecarbon", "estimated"),
        measured("c", 0.9, 99.0, "nvml_energy_delta", "measured"),
    ]
    assert ids(ranking.comparable(ENERGY, trials)) == ["c"]


def test_of_two_equally_trusted_methods_the_more_frequent_counts() -> None:
    trials = [
        measured("a", 0.1, 1.0, "rapl", "measured"),
        measured("b", 0.2, 2.0, "nvml_energy_delta", "measured"),
        measured("c", 0.3, 3.0, "nvml_energy_delta", "measured"),
    ]
    assert ids(ranking.comparable(ENERGY, trials)) == ["b", "c"]


def test_dominators_are_front_trials_better_than_the_default() -> None:
    default = full_trial("default", 0.2, 2.0, is_default=True)
    trials = [
        default,
        full_trial("better", 0.1, 1.5),
        full_trial("also", 0.2, 1.0),
        full_trial("dearer", 0.05, 3.0),
        full_trial("dominated", 0.15, 1.6),
    ]
    assert ids(ranking.dominators(SPEC, trials, ["error", "deployment_energy"])) == ["better", "also"]


def test_dominators_of_another_baseline_are_better_than_that() -> None:
    trials = [
        full_trial("default-recommended", 0.1, 2.0, is_default=True),
        full_trial("default", 0.3, 2.0, is_default=True),
        full_trial("a", 0.2, 1.0),
        full_trial("b", 0.05, 1.5),
    ]
    found = {name: ids(ranking.dominators(SPEC, trials, ["error", "deployment_energy"], name)) for name in BASELINES}
    assert found == {"default": ["b", "a"], "default-recommended": ["b"]}
    assert ids(ranking.dominators(SPEC, trials, ["error", "deployment_energy"])) == ["b", "a"]


def test_nothing_dominates_what_was_obtained_in_another_way_or_on_another_device() -> None:
    default = measured("default", 0.9, 9.0, "codecarbon", "estimated").model_copy(update={"is_default": True})
    trials = [default, measured("a", 0.1, 1.0, "nvml_energy_delta", "measured")]
    assert ids(ranking.front(ENERGY, trials)) == ["a"]
    assert ranking.dominators(ENERGY, trials, ["error", "energy"]) == []
    assert ids(ranking.dominators(ENERGY, trials, ["error"])) == ["a"]


def test_a_maximised_objective_is_dominated_from_above() -> None:
    spec = study_spec(objectives={"error": "maximize", "deployment_energy": "minimize"})
    trials = [full_trial("default", 0.2, 2.0, is_default=True), full_trial("a", 0.9, 1.0), full_trial("b", 0.1, 0.5)]
    assert ids(ranking.dominators(spec, trials, ["error", "deployment_energy"])) == ["a"]


def test_nothing_dominates_a_default_that_is_missing_or_unknown() -> None:
    best = full_trial("a", 0.0, 0.0)
    unknown = trial("default", failed("default"), is_default=True)
    assert ranking.dominators(SPEC, [best], ["error", "deployment_energy"]) == []
    assert ranking.dominators(SPEC, [best, unknown], ["error", "deployment_energy"]) == []


def test_the_volume_of_two_trials_is_exact() -> None:
    trials = [full_trial("a", 0.0, 10.0), full_trial("b", 1.0, 0.0)]
    volume = ranking.volume(SPEC, trials)
    assert volume is not None
    assert volume.reference_point == pytest.approx({"error": 1.1, "deployment_energy": 11.0})
    assert volume.hypervolume == pytest.approx(1.1 * 1 + 0.1 * 10)


def test_a_reference_point_has_the_objectives_own_signs() -> None:
    spec = study_spec(objectives={"error": "maximize", "deployment_energy": "minimize"})
    volume = ranking.volume(spec, [full_trial("a", 0.0, 0.0), full_trial("b", 1.0, 10.0)])
    assert volume is not None
    assert volume.reference_point == pytest.approx({"error": -0.1, "deployment_energy": 11.0})


def test_a_maximised_objective_turns_the_front() -> None:
    spec = study_spec(objectives={"error": "maximize", "deployment_energy": "minimize"})
    assert ids(ranking.front(spec, [full_trial("a", 0.1, 1.0), full_trial("b", 0.9, 1.0)])) == ["b"]


def test_without_a_comparable_trial_there_is_no_volume() -> None:
    assert ranking.volume(SPEC, []) is None
    assert ranking.front(SPEC, []) == []


def on(device: str, trial_id: str, objective: str, value: float) -> Trial:
    """A trial that trained on a model of device."""
    figure = measurement(value, "nvml_energy_delta", "measured")
    result = completed(trial_id, error=0.1, objectives={objective: figure})
    assert result.energy is not None
    energy = result.energy.model_copy(update={"device": device})
    return trial(trial_id, result.model_copy(update={"energy": energy}))


@pytest.mark.parametrize(
    "objective",
    ["energy", "emissions", "inference_energy", "water_litres", "embodied_grams", "latency", "peak_memory_bytes"],
)
def test_what_depends_on_the_model_of_device_is_never_ranked_across_two(objective: str) -> None:
    spec = study_spec(objectives={"error": "minimize", objective: "minimize"})
    trials = [
        on(device, trial_id, objective, value)
        for device, trial_id, value in (("A100", "a", 9.0), ("H100", "b", 1.0), ("A100", "c", 8.0))
    ]

    assert ids(ranking.comparable(spec, trials)) == ["a", "c"]
    assert ids(ranking.front(spec, trials)) == ["c"]


def test_what_is_the_same_on_every_device_is_ranked_across_all() -> None:
    spec = study_spec(objectives={"error": "minimize", "model_bytes": "minimize"})
    trials = [on("A100", "a", "model_bytes", 9.0), on("H100", "b", "model_bytes", 1.0)]

    assert ids(ranking.comparable(spec, trials)) == ["a", "b"]


def test_the_device_of_an_inference_is_the_one_that_it_was_measured_on() -> None:
    spec = study_spec(objectives={"error": "minimize", "inference_energy": "minimize"})
    trials = [on("A100", name, "inference_energy", value) for name, value in (("a", 9.0), ("b", 1.0), ("c", 8.0))]
    elsewhere = trials[1].result
    assert elsewhere is not None and elsewhere.energy is not None
    report = elsewhere.energy.model_copy(update={"device": "H100"})
    inference = InferenceEnergy(
        joules_per_image=1.0, uncertainty_joules_per_image=None, n_images=1, n_passes=1, report=report
    )
    trials[1] = trials[1].model_copy(update={"result": elsewhere.model_copy(update={"inference": inference})})

    assert ids(ranking.comparable(spec, trials)) == ["a", "c"]


@pytest.mark.parametrize(
    ("constraints", "kept"),
    [
        ([], ["1", "2", "3"]),
        (["error <= 0.2"], ["1", "2"]),
        (["error<=0.2", "deployment_energy <= 2"], ["2"]),
        (["deployment_energy >= 3"], ["1"]),
        (["latency <= 1"], []),
    ],
)
def test_the_front_keeps_to_the_constraints(constraints: list[str], kept: list[str]) -> None:
    trials = [full_trial("1", 0.1, 3.0), full_trial("2", 0.2, 2.0), full_trial("3", 0.3, 1.0)]
    assert [t.trial_id for t in ranking.front(study_spec(constraints=constraints), trials)] == kept


def test_a_constraint_about_what_nobody_measures_is_refused() -> None:
    with pytest.raises(InputError, match=r"constraints: must be about error, energy, .*, got 'eror'"):
        study_spec(constraints=["eror <= 0.2"])


@pytest.mark.parametrize("text", ["error", "error < 0.2", "error <= much", "<= 3", "a b <= 3", "error <= inf"])
def test_a_constraint_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"constraints: must read like 'error <= 0.2'"):
        study_spec(constraints=[text])
