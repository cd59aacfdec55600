from __future__ import annotations

import pytest
import torch
from torch import nn

from shiftlayers import ShiftLayer, estimate_cost
from worker import trial
from worker.data import load_dataset
from worker.energy.sources import NoSource
from worker.errors import ConfigurationError
from worker.families import Int8Conv2d, Int8Layer, Int8Linear, build_model, convert, deployment_cost, shift_config
from worker.schema import Recipe, TrialSpec
from worker.trial import run

DIGITS = load_dataset("digits")


def make_spec(**changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8"}
    return TrialSpec(**{**fields, "recipe": Recipe(learning_rate=0.05), "shift_depth": 10, "epochs": 4, **changes})


@pytest.fixture(autouse=True)
def no_energy(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())


def layers_of(model: nn.Module, kind: type) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize("depth", [0, 1, 4, 10])
@pytest.mark.parametrize(("family", "kind"), [("shift", ShiftLayer), ("int8", Int8Layer)])
def test_the_last_layers_are_of_the_family(family, kind, depth):
    model = build_model(make_spec(family=family, shift_depth=depth), DIGITS)

    assert len(layers_of(model, kind)) == depth
    if depth:
        assert isinstance(model.head, kind)


def test_a_float_network_is_left_as_it_is():
    model = build_model(make_spec(family="float"), DIGITS)

    assert not layers_of(model, ShiftLayer) and not layers_of(model, Int8Layer)


@pytest.mark.parametrize("family", ["shift", "int8", "float"])
def test_a_depth_that_the_network_lacks_is_refused(family):
    with pytest.raises(ConfigurationError, match=r"shift_depth of resnet8: depth must be 0\.\.10.* got 11"):
        build_model(make_spec(family=family, shift_depth=11), DIGITS)


def test_all_families_start_from_the_same_float_weights():
    stems = []
    for family in ("int8", "float"):
        torch.manual_seed(3)
        stems.append(build_model(make_spec(family=family), DIGITS).stem.weight)

    assert torch.equal(*stems)


def test_more_layers_in_8_bits_keep_what_the_first_have_seen():
    spec = make_spec(family="int8", shift_depth=2)
    model = build_model(spec, DIGITS)
    model.train()(DIGITS.train.batch(slice(64)))
    high = model.head.high.clone()

    convert(model, spec, 5, DIGITS)

    assert len(layers_of(model, Int8Layer)) == 5
    assert torch.equal(model.head.high, high) and high > 0


@pytest.mark.parametrize("family", ["shift", "int8", "float"])
def test_networks_of_every_family_learn(family):
    result = run(
        make_spec(family=family, recipe=Recipe(learning_rate=0.003, optimizer="adam", quantizer="deepshift-q"))
    )

    assert result.failure is None
    assert result.objectives["error"].value < 0.2


def test_weights_in_8_bits_have_255_levels_a_channel_and_inputs_256():
    torch.manual_seed(0)
    layer = Int8Conv2d.from_float(nn.Conv2d(3, 4, 3))
    x = torch.randn(8, 3, 9, 9)
    layer.train()(x)
    layer.eval()

    weight, rounded = layer.rounded_weight(), layer.rounded_input(x)

    for channel in weight:
        step = channel.abs().max() / 127
        assert torch.allclose(channel / step, (channel / step).round(), atol=1e-4)
    assert len(rounded.unique()) <= 256
    assert (rounded - x).abs().max() <= (layer.high - layer.low) / 255
    assert (weight - layer.weight).abs().max() <= layer.weight.abs().max() / 127


def test_gradients_pass_the_rounding_of_8_bits():
    layer = Int8Linear.from_float(nn.Linear(4, 2))
    x = torch.randn(5, 4, requires_grad=True)

    layer(x).sum().backward()

    assert layer.weight.grad.abs().min() > 0
    assert x.grad.abs().max() > 0


def test_evaluation_does_not_change_the_range_of_inputs():
    layer = Int8Linear.from_float(nn.Linear(4, 2))
    layer.train()(torch.randn(5, 4))
    low, high = layer.low.clone(), layer.high.clone()

    layer.eval()(torch.randn(5, 4) * 100)

    assert torch.equal(layer.low, low) and torch.equal(layer.high, high)


def test_each_family_is_charged_for_its_own_arithmetic():
    costs = {
        family: deployment_cost(build_model(make_spec(family=family), DIGITS), family, DIGITS.image_shape)
        for family in ("shift", "int8", "float")
    }

    assert costs["int8"].compute_joules == pytest.approx(costs["float"].twin("int8").compute_joules)
    assert costs["float"] == estimate_cost(build_model(make_spec(family="float"), DIGITS), DIGITS.image_shape)
    assert costs["shift"].compute_joules < costs["float"].compute_joules


def test_only_the_layers_in_8_bits_are_charged_as_such():
    model = build_model(make_spec(family="int8", shift_depth=3), DIGITS)

    arithmetic = [layer.arithmetic for layer in deployment_cost(model, "int8", DIGITS.image_shape).layers]

    assert arithmetic.count("int8") == 3
    assert arithmetic[-1] == "int8"


def test_a_quantiser_that_has_no_stochastic_rounding_rounds_to_the_nearest():
    assert shift_config(Recipe(quantizer="s3", rounding="stochastic-log")).rounding == "nearest"


# Objectives besides the four


@pytest.mark.parametrize("family", ["shift", "int8", "float"])
def test_further_objectives_are_measured_where_asked_for(family):
    result = run(make_spec(family=family, epochs=1, extra_objectives=("latency", "model_bytes", "peak_memory_bytes")))

    units = {name: result.objectives[name].unit for name in ("latency", "model_bytes", "peak_memory_bytes")}
    assert units == {"latency": "s / image", "model_bytes": "B", "peak_memory_bytes": "B"}
    assert all(result.objectives[name].value > 0 for name in units)
    assert 0 < result.objectives["latency"].value < 0.1
    assert result.objectives["peak_memory_bytes"].value > 50e6


def test_a_network_takes_the_bytes_of_its_family():
    values = {
        family: run(make_spec(family=family, epochs=1, extra_objectives=("model_bytes",)))
        .objectives["model_bytes"]
        .value
        for family in ("shift", "int8", "float")
    }

    assert values["shift"] < 0.3 * values["float"]
    assert 0.25 < values["int8"] / values["float"] < 0.4


def test_a_share_of_the_data_is_part_of_a_larger_share():
    small, large = (trial._splits(make_spec(data_fraction=share), DIGITS)[0] for share in (0.1, 0.5))
    rows = {tuple(image.flatten().tolist()) for image in large.images}

    assert len(small) == round(0.1 * len(DIGITS.train))
    assert all(tuple(image.flatten().tolist()) in rows for image in small.images)


def test_a_share_of_the_data_is_what_is_trained_on(monkeypatch):
    sizes = []
    monkeypatch.setattr(trial, "train", lambda _model, split, *_args, **_options: sizes.append(len(split)) or (1.0,))

    run(make_spec(data_fraction=0.25))

    assert sizes == [round(0.25 * len(DIGITS.train))]
