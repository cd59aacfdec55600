from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from shiftlayers import ShiftConfig, ShiftConv2d, ShiftLinear, estimate_cost
from worker import trial
from worker.data import load_dataset
from worker.energy.sources import CodeCarbonModel, NoSource, Reading
from worker.errors import ConfigurationError, DivergedError, StoppedError
from worker.families import build_model, shift_config
from worker.models import build_network
from worker.schema import Method, Quality, Recipe, TaskFacts, TrialSpec
from worker.tabulate import deployment_table
from worker.train import evaluate
from worker.trial import inspect, make_meter, run


def make_spec(**changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8"}
    return TrialSpec(**{**fields, "recipe": Recipe(learning_rate=0.02), "shift_depth": 3, "epochs": 1, **changes})


class KilojouleCounter:
    """A counter that reads 1,000 J for every window."""

    method: Method = "nvml_energy_delta"
    quality: Quality = "measured"

    def begin(self) -> None:
        pass

    def end(self) -> Reading:
        return Reading(1000.0)


@pytest.fixture
def no_energy(monkeypatch):
    """Nothing to read energy from: quick, and a case of its own."""
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())


@pytest.fixture
def evaluated(monkeypatch, no_energy):
    """The (split, batch size) of every evaluation."""
    calls = []

    def spy(model, data, batch_size, *rest, **options):
        calls.append((data, batch_size))
        return evaluate(model, data, batch_size, *rest, **options)

    monkeypatch.setattr(trial, "evaluate", spy)
    return calls


# Objectives


def test_a_trial_on_the_cpu_measures_four_objectives_each_with_its_origin():
    result = run(make_spec())

    origins = {name: (m.unit, m.method, m.quality) for name, m in result.objectives.items()}
    # CodeCarbon may find the window too short, and then says so.
    model = ("codecarbon", "estimated") if result.energy.joules is not None else ("none", "none")
    assert origins == {
        "error": ("ratio", "evaluation", "measured"),
        "deployment_energy": ("J / image", "analytic", "estimated"),
        "energy": ("J", *model),
        "emissions": ("gCO2eq", *model),
    }
    assert (result.study_id, result.trial_id, result.attempt, result.failure) == ("s", "t", 1, None)


def test_a_trial_tells_the_layers_of_its_network(no_energy):
    layers = run(make_spec()).layers

    assert [layer.is_shift for layer in layers].count(True) == 3 and len(layers) == 10
    for layer in layers:
        assert layer.n_weights == layer.n_zeros + sum(layer.exponents.values()) > 0
        assert layer.weight_bits == (5 if layer.is_shift else None)


def test_a_measured_energy_is_reported_and_its_emissions_are_an_estimate(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())

    result = run(make_spec())

    energy, emissions = result.objectives["energy"], result.objectives["emissions"]
    assert (energy.value, energy.quality) == (1000.0, "measured")
    assert (emissions.value, emissions.quality) == (pytest.approx(1000 / 3.6e6 * 475), "estimated")
    assert (result.energy.joules, result.energy.emissions_grams) == (energy.value, emissions.value)


def test_an_unknown_energy_is_none_and_the_trial_completes(no_energy):
    result = run(make_spec())

    for name in ("energy", "emissions"):
        measurement = result.objectives[name]
        assert (measurement.value, measurement.method, measurement.quality) == (None, "none", "none")
    assert 0 <= result.objectives["error"].value <= 1


def test_the_deployment_energy_is_that_of_the_network(no_energy):
    spec = make_spec(shift_depth=4)

    result = run(spec)

    data = load_dataset("digits")
    expected = estimate_cost(build_model(spec, data), data.image_shape).total_joules
    assert result.objectives["deployment_energy"].value == expected


def test_training_and_evaluation_lie_within_the_window(monkeypatch):
    events: list[str] = []

    class Recorder(NoSource):
        def begin(self):
            events.append("begin")

        def end(self):
            events.append("end")
            return super().end()

    monkeypatch.setattr(trial, "open_source", lambda _uuid: Recorder())
    monkeypatch.setattr(trial, "train", lambda *_args, **_options: events.append("train") or (1.0,))
    monkeypatch.setattr(trial, "evaluate", lambda *_args, **_options: events.append("evaluate") or 0.5)

    run(make_spec())

    assert events == ["begin", "train", "evaluate", "end"]


# The recipe of a trial


@pytest.mark.parametrize("rounding", ["nearest", "stochastic-linear"])
def test_the_same_spec_gives_the_same_trial(no_energy, rounding):
    spec = make_spec(recipe=Recipe(rounding=rounding), epochs=2)

    first, second = run(spec), run(spec)

    assert first.training_loss == second.training_loss
    assert len(first.training_loss) == 2
    assert first.objectives == second.objectives


def test_another_seed_gives_another_trial(no_energy):
    assert run(make_spec(seed=1)).training_loss != run(make_spec(seed=2)).training_loss


def test_the_error_is_measured_on_the_one_validation_split(evaluated):
    for spec in (make_spec(), make_spec(seed=9, shift_depth=10, recipe=Recipe(quantizer="deepshift-q"))):
        torch.manual_seed(spec.seed + 100)
        run(spec)

    validation = load_dataset("digits").validation
    for data, _ in evaluated:
        assert torch.equal(data.images, validation.images)
        assert torch.equal(data.labels, validation.labels)


def test_a_final_training_learns_from_all_but_the_test_split_and_is_judged_by_it(evaluated, monkeypatch):
    sizes = []
    monkeypatch.setattr(trial, "train", lambda _model, split, *_args, **_options: sizes.append(len(split)) or (1.0,))

    run(make_spec(is_final=True))

    digits = load_dataset("digits")
    ((judge, _),) = evaluated
    assert sizes == [len(digits.train) + len(digits.validation)]
    assert torch.equal(judge.images, digits.test.images)


def test_evaluation_uses_the_test_batch_size_of_the_recipe(evaluated):
    run(make_spec(recipe=Recipe(test_batch_size=37)))

    assert [batch_size for _, batch_size in evaluated] == [37]


def test_training_uses_the_training_split_and_its_augmentation(monkeypatch, no_energy, cifar_folder):
    calls = []

    def spy(_model, data, recipe, epochs, generator, *, augmentation, **_rest):
        calls.append((len(data), recipe, epochs, generator.initial_seed(), augmentation))
        return (1.0,)

    monkeypatch.setattr(trial, "train", spy)
    specs = [
        make_spec(epochs=3, seed=4, recipe=Recipe(test_batch_size=90)),
        make_spec(dataset="cifar10", data_dir=str(cifar_folder), recipe=Recipe(test_batch_size=90)),
    ]
    for spec in specs:
        run(spec)

    n_digits, n_cifar = len(load_dataset("digits").train), len(load_dataset("cifar10", str(cifar_folder)).train)
    assert calls == [(n_digits, specs[0].recipe, 3, 4, ()), (n_cifar, specs[1].recipe, 1, 0, ("flip", "translate"))]


def test_the_shift_config_is_that_of_the_recipe():
    recipe = Recipe(
        quantizer="deepshift-q",
        weight_bits=3,
        rounding="stochastic-log",
        activation_integer_bits=7,
        activation_fraction_bits=9,
    )

    assert shift_config(recipe) == ShiftConfig("deepshift-q", 3, "stochastic-log", (7, 9))


@pytest.mark.parametrize("depth", [0, 1, 10])
def test_the_network_has_as_many_shift_layers_as_asked_for(depth):
    model = build_model(make_spec(shift_depth=depth), load_dataset("digits"))

    assert sum(isinstance(m, ShiftConv2d | ShiftLinear) for m in model.modules()) == depth


def test_more_shift_layers_start_from_the_same_float_weights():
    data = load_dataset("digits")
    states = []
    for depth in (0, 10):
        torch.manual_seed(5)
        spec = make_spec(shift_depth=depth, recipe=Recipe(quantizer="deepshift-q"))
        states.append(build_model(spec, data).state_dict())

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


# Failures


def test_a_depth_that_the_network_lacks_is_refused():
    with pytest.raises(ConfigurationError, match=r"shift_depth of resnet8: depth must be 0\.\.10.* got 11"):
        run(make_spec(shift_depth=11))


def test_every_epoch_is_told_while_the_trial_goes_on(no_energy):
    seen = []

    result = run(make_spec(epochs=3), on_epoch=seen.append)

    assert [metrics.epoch for metrics in seen] == [1, 2, 3]
    assert tuple(metrics.training_loss for metrics in seen) == result.training_loss
    assert all(metrics.trial_id == "t" and metrics.seconds > 0 for metrics in seen)


def test_a_stop_takes_effect_after_the_batch(no_energy):
    answers = iter([False, True])

    with pytest.raises(StoppedError, match="stopped in epoch 1 of 5"):
        run(make_spec(epochs=5), should_stop=lambda: next(answers))


def test_a_diverging_trial_is_an_error(no_energy):
    with pytest.raises(DivergedError):
        run(make_spec(shift_depth=0, recipe=Recipe(learning_rate=1e30)))


# Weights


@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
def test_the_trained_weights_are_written_and_give_the_same_error(no_energy, tmp_path, quantizer):
    path = tmp_path / "new" / "weights.safetensors"
    spec = make_spec(recipe=Recipe(quantizer=quantizer, learning_rate=0.02), shift_depth=5, model_path=str(path))

    result = run(spec)

    data = load_dataset("digits")
    torch.manual_seed(99)
    model = build_model(spec, data)
    model.load_state_dict(load_file(path))
    assert evaluate(model, data.validation, 100) == result.objectives["error"].value


def test_what_was_measured_counts_where_neither_weights_nor_checkpoint_can_be_written(no_energy, tmp_path, caplog):
    (tmp_path / "file").touch()
    within = str(tmp_path / "file" / "within")
    spec = make_spec(model_path=within, checkpoint_to=within)

    result = run(spec)

    assert result.objectives["error"].value is not None
    assert "the weights cannot be written to" in caplog.text
    assert "the checkpoint cannot be written to" in caplog.text


def test_a_network_starts_from_the_weights_of_a_file_before_it_is_converted(tmp_path):
    data, path = load_dataset("digits"), tmp_path / "float.safetensors"
    state = build_model(make_spec(shift_depth=0), data).state_dict()
    save_file(state, path)

    plain = build_model(make_spec(shift_depth=0, weights_path=str(path)), data).state_dict()
    shifted = build_model(make_spec(shift_depth=10, weights_path=str(path)), data)

    assert all(torch.equal(plain[key], state[key]) for key in state)
    rounded = shifted.get_submodule("head").effective_weight().detach()
    assert ((rounded - state["head.weight"]).abs() <= 0.5 * state["head.weight"].abs() + 2.0**-14).all()


def test_weights_that_do_not_fit_are_a_failure_of_the_configuration(tmp_path):
    with pytest.raises(ConfigurationError, match="weights must be a file"):
        run(make_spec(weights_path=str(tmp_path / "absent")))


def test_no_weights_are_written_unasked(no_energy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    run(make_spec())

    assert list(tmp_path.iterdir()) == []


# Facts


def test_the_facts_of_digits_and_resnet8():
    data = load_dataset("digits")

    assert inspect("digits", "resnet8", None) == TaskFacts(
        n_layers=10,
        image_shape=(1, 8, 8),
        n_classes=10,
        n_train=len(data.train),
        n_validation=len(data.validation),
        n_test=len(data.test),
        device="CPU and memory",
        deployment=deployment_table(build_network("resnet8", (1, 8, 8), 10), (1, 8, 8)),
    )


def test_the_facts_of_a_data_set_in_a_folder(cifar_folder):
    facts = inspect("cifar10", "resnet20", str(cifar_folder))

    assert (facts.n_layers, facts.image_shape, facts.n_test) == (20, (3, 32, 32), 250)


def test_facts_are_refused_where_the_weights_to_start_from_do_not_fit(tmp_path):
    path = tmp_path / "resnet8.safetensors"
    save_file(build_network("resnet8", (1, 8, 8), 10).state_dict(), path)

    assert inspect("digits", "resnet8", None, weights_path=str(path)).n_layers == 10
    with pytest.raises(ConfigurationError, match=r"weights .*/resnet8\.safetensors does not fit the network: missing"):
        inspect("digits", "resnet20", None, weights_path=str(path))


@pytest.mark.parametrize(
    ("dataset", "network", "n_layers"), [("digits", "vgg11-small", 9), ("digits@32", "shufflenet_v2_x0_5", 57)]
)
def test_the_facts_of_other_networks(dataset, network, n_layers):
    assert inspect(dataset, network, None).n_layers == n_layers


@pytest.mark.parametrize(("download", "fetched"), [(False, []), (True, [("cifar10", "somewhere")])])
def test_facts_fetch_a_data_set_only_when_asked(monkeypatch, download, fetched):
    calls = []
    monkeypatch.setattr(trial, "fetch_dataset", lambda *args: calls.append(args))
    monkeypatch.setattr(trial, "load_dataset", lambda *_args: load_dataset("digits"))

    inspect("cifar10", "resnet8", "somewhere", download=download)

    assert calls == fetched


def test_the_meter_of_the_cpu_uses_the_model():
    meter = make_meter(torch.device("cpu"))

    assert isinstance(meter.source, CodeCarbonModel)
    assert meter.device == "CPU and memory"
