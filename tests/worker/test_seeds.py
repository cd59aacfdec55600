from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from worker import entry, trial
from worker.checkpoint import load_checkpoint
from worker.energy.reading import NoSource, Reading
from worker.entry import run_trial
from worker.schema import FailureKind, Method, Quality, Recipe, TrialResult, TrialSpec

COSTS = ("energy", "emissions")


class Counter:
    """A counter that reads ten joules more in every window, the first one ten."""

    method: Method = "nvml_energy_delta"
    quality: Quality = "measured"

    def __init__(self) -> None:
        self.joules = 0.0

    def begin(self) -> None:
        self.joules += 10.0

    def end(self) -> Reading:
        return Reading(self.joules)


@pytest.fixture(autouse=True)
def counter(monkeypatch):
    source = Counter()
    monkeypatch.setattr(trial, "open_source", lambda _uuid: source)


def make_spec(**changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8"}
    recipe = Recipe(learning_rate=0.02, schedule="constant")
    quick = {"recipe": recipe, "shift_depth": 1, "epochs": 1, "data_fraction": 0.05}
    return TrialSpec(**{**fields, **quick, "n_seeds": 2, **changes})


def values(result: TrialResult, name: str) -> list[float | None]:
    return [objectives[name].value for objectives in result.by_seed]


def test_two_seeds_give_exactly_the_numbers_of_two_trials():
    asked = ("model_bytes",)

    both = run_trial(make_spec(seed=5, extra_objectives=asked))
    alone = [run_trial(make_spec(seed=seed, n_seeds=1, extra_objectives=asked)) for seed in (5, 6)]

    assert both.failure is None
    assert alone[0].objectives["error"] != alone[1].objectives["error"]
    for name in alone[0].objectives.keys() - set(COSTS):
        assert [objectives[name] for objectives in both.by_seed] == [result.objectives[name] for result in alone]
        assert both.objectives[name].value == sum(values(both, name)) / 2
    assert both.training_loss == alone[0].training_loss + alone[1].training_loss
    assert both.int8_deployment_energy == alone[0].int8_deployment_energy


def test_what_a_trial_spends_is_the_sum_over_its_seeds():
    result = run_trial(make_spec(n_seeds=3, extra_objectives=("water_litres", "embodied_grams")))

    assert values(result, "energy") == [10.0, 20.0, 30.0]
    for name in (*COSTS, "water_litres", "embodied_grams"):
        assert result.objectives[name].value == pytest.approx(sum(values(result, name)))
    assert (result.objectives["energy"].method, result.objectives["energy"].quality) == (
        "nvml_energy_delta",
        "measured",
    )
    assert result.energy.joules == result.objectives["energy"].value == 60.0
    assert (result.energy.repeats, result.energy.repeats_joules) == (3, (10.0, 20.0, 30.0))


def test_one_seed_is_a_trial_as_ever():
    result = run_trial(make_spec(n_seeds=1))

    assert (result.by_seed, result.energy.repeats, result.energy.repeats_joules) == ((), 1, ())


def test_the_weights_are_those_of_the_first_seed(tmp_path):
    both, alone = tmp_path / "both.safetensors", tmp_path / "alone.safetensors"

    run_trial(make_spec(model_path=str(both)))
    run_trial(make_spec(n_seeds=1, model_path=str(alone)))

    first, second = load_file(both), load_file(alone)
    assert all((first[name] == second[name]).all() for name in second)


def test_the_layers_are_those_of_the_first_seed():
    both, alone = run_trial(make_spec()), run_trial(make_spec(n_seeds=1))

    assert both.layers == alone.layers != ()


def test_epochs_are_counted_on_from_seed_to_seed():
    seen = []

    result = run_trial(make_spec(epochs=2), on_epoch=seen.append)

    assert [m.epoch for m in seen] == [1, 2, 3, 4]
    assert tuple(m.training_loss for m in seen) == result.training_loss


def test_a_figure_that_one_seed_lacks_is_unknown_for_all(monkeypatch):
    sources = iter([Counter(), NoSource()])
    monkeypatch.setattr(trial, "open_source", lambda _uuid: next(sources))

    result = run_trial(make_spec())

    assert values(result, "energy") == [10.0, None]
    for name in COSTS:
        assert (result.objectives[name].value, result.objectives[name].method) == (None, "none")
    assert (result.energy.joules, result.energy.total_measured_joules) == (None, 10.0)
    assert result.objectives["error"].value is not None


# Inference


def test_the_energy_of_an_inference_is_the_mean_and_all_its_passes_are_spent(monkeypatch):
    measure = trial.measure_inference_energy
    monkeypatch.setattr(trial, "measure_inference_energy", lambda *args: measure(*args, at_least_seconds=0.0))

    result = run_trial(make_spec(extra_objectives=("inference_energy",)))

    # Windows one and three train, two and four infer.
    assert result.energy.repeats_joules == (10.0, 30.0)
    n = result.inference.n_images
    assert values(result, "inference_energy") == [20.0 / n, 40.0 / n]
    assert result.objectives["inference_energy"].value == pytest.approx(30.0 / n)
    assert result.inference.measurement == result.objectives["inference_energy"]
    assert (result.inference.report.joules, result.inference.n_passes, result.inference.report.repeats) == (60.0, 2, 2)


# Checkpoints


def test_seeds_in_two_legs_equal_seeds_in_one(tmp_path):
    url = str(tmp_path / "first.pt")

    whole = run_trial(make_spec(epochs=3))
    first = run_trial(make_spec(trial_id="a", checkpoint_to=url))
    rest = run_trial(make_spec(epochs=3, resume_from=url))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.pt", "first.pt.1"]
    assert values(rest, "error") == values(whole, "error")
    for seed in (0, 1):
        assert (
            first.training_loss[seed : seed + 1] + rest.training_loss[2 * seed : 2 * seed + 2]
            == (whole.training_loss[3 * seed : 3 * seed + 3])
        )
    assert [(leg.trial_id, leg.epochs) for leg in rest.earlier_legs] == [("a", 1), ("a", 1)]
    spent = [leg.joules for leg in rest.earlier_legs] + list(rest.energy.repeats_joules)
    assert rest.objectives["energy"].value == sum(spent)


def test_a_seed_whose_checkpoint_is_gone_begins_anew_and_the_others_go_on(tmp_path):
    url = str(tmp_path / "first.pt")
    run_trial(make_spec(checkpoint_to=url))
    (tmp_path / "first.pt.1").unlink()

    result = run_trial(make_spec(epochs=2, resume_from=url))

    assert (len(result.training_loss), len(result.earlier_legs)) == (1 + 2, 1)
    assert result.by_seed[1]["error"] == run_trial(make_spec(seed=1, n_seeds=1, epochs=2)).objectives["error"]


def test_checkpoints_of_seeds_are_of_different_networks(tmp_path):
    run_trial(make_spec(checkpoint_to=str(tmp_path / "a.pt")))

    first, second = (load_checkpoint(str(tmp_path / name)) for name in ("a.pt", "a.pt.1"))

    assert not (first.model["head.bias"] == second.model["head.bias"]).all()


# Failures


def test_a_trial_that_is_stopped_keeps_the_energy_of_all_its_seeds_so_far():
    seen = []

    result = run_trial(make_spec(n_seeds=5), on_epoch=seen.append, should_stop=lambda: len(seen) == 1)

    # The first seed had trained its only epoch, the second one was stopped in its first batch.
    assert result.failure.kind is FailureKind.CANCELLED
    assert "stopped in epoch 1 of 1" in result.failure.message
    assert (result.energy.joules, result.energy.repeats_joules) == (30.0, (10.0, 20.0))
    assert (result.objectives, result.by_seed) == ({}, ())


def test_a_seed_that_fails_before_it_trains_costs_what_the_seeds_before_it_did(tmp_path):
    url = str(tmp_path / "a.pt")
    run_trial(make_spec(trial_id="a", checkpoint_to=url))
    # Another network lies where the second seed looks for its own.
    run_trial(make_spec(trial_id="b", n_seeds=1, network="resnet20", checkpoint_to=f"{url}.1"))

    result = run_trial(make_spec(epochs=2, resume_from=url))

    assert result.failure.kind is FailureKind.CRASHED
    assert "load" in result.failure.traceback
    assert result.energy.repeats == 1
    assert [leg.trial_id for leg in result.earlier_legs] == ["a", "b"]


def test_a_limit_of_time_is_that_of_all_seeds_together(monkeypatch):
    # Time is how often somebody has looked at it.
    looks = itertools.count()
    monkeypatch.setattr(entry, "time", SimpleNamespace(monotonic=lambda: float(next(looks))))

    result = run_trial(make_spec(n_seeds=1000, time_limit_seconds=20))

    assert result.failure.kind is FailureKind.TIME_LIMIT
    assert result.energy.repeats > 1
    assert 20 < result.duration_seconds < 25
