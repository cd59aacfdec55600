from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from shiftlayers import ShiftConfig, convert_to_shift, estimate_cost
from shiftlayers.config import QUANTIZER_NAMES
from worker.models import build_network

SHAPE = (3, 32, 32)
SHIFT = ShiftConfig("deepshift-ps", 5, activation_bits=(4, 4))


def resnet20(depth: int = 0, config: ShiftConfig = SHIFT) -> nn.Module:
    return convert_to_shift(build_network("resnet20", SHAPE, 10), config, depth, example_input=torch.zeros(1, *SHAPE))


@pytest.mark.parametrize("arithmetic", ["fp32", "int8"])
def test_resnet20_reproduces_the_published_energy_of_multiplication(arithmetic):
    microjoules = estimate_cost(resnet20(), SHAPE).twin(arithmetic).compute_joules * 1e6

    assert microjoules == pytest.approx({"fp32": 186.5, "int8": 12.2}[arithmetic], rel=0.01)


def test_resnet20_reproduces_the_published_energy_of_shifts():
    cost = estimate_cost(resnet20(depth=20), SHAPE)

    assert cost.compute_joules * 1e6 == pytest.approx(5.03, rel=0.01)
    assert {layer.arithmetic for layer in cost.layers} == {"shift"}


def test_a_float_network_costs_what_its_fp32_twin_costs():
    cost = estimate_cost(resnet20(), SHAPE)

    assert cost == cost.twin("fp32")


def test_the_twins_of_a_shift_network_are_those_of_its_float_network():
    assert estimate_cost(resnet20(20), SHAPE).twin("int8") == estimate_cost(resnet20(), SHAPE).twin("int8")


def test_resnet20_has_forty_million_multiply_accumulates():
    layers = estimate_cost(resnet20(), SHAPE).layers

    assert len(layers) == 20
    assert sum(layer.macs for layer in layers[:-1]) == 40_550_400
    assert layers[-1].macs == 640


def test_batch_normalisation_is_charged_separately():
    cost = estimate_cost(resnet20(), SHAPE)

    # Seven layers of 16x32x32 values, six of 32x16x16, six of 64x8x8; one multiplication and one addition each.
    n_values = 7 * 16 * 32 * 32 + 6 * 32 * 16 * 16 + 6 * 64 * 8 * 8
    assert cost.batch_norm_joules == pytest.approx(n_values * 4.6e-12)
    assert cost.total_joules == pytest.approx(cost.compute_joules + cost.memory_joules + cost.batch_norm_joules)


def test_memory_of_one_float_layer_is_as_by_hand():
    conv = nn.Conv2d(3, 8, 3, padding=1, stride=2, groups=1)

    (layer,) = estimate_cost(nn.Sequential(conv), (3, 8, 8)).layers

    n_weights, n_activations = 3 * 8 * 9 + 8, 3 * 8 * 8 + 8 * 4 * 4
    assert (layer.n_weights, layer.n_activations, layer.macs) == (n_weights, n_activations, 8 * 4 * 4 * 27)
    assert layer.memory_joules == pytest.approx((n_weights + n_activations) * 2 * 22.2e-12)


def test_memory_of_one_shift_layer_is_as_by_hand():
    model = convert_to_shift(nn.Sequential(nn.Linear(10, 4)), SHIFT, 1)

    (layer,) = estimate_cost(model, (10,)).layers

    assert layer.memory_joules == pytest.approx((44 * 5 + 14 * 8) / 16 * 22.2e-12)
    assert layer.compute_joules == pytest.approx(40 * (0.024 + 0.1) * 1e-12)


def test_groups_divide_the_operations():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False))

    (layer,) = estimate_cost(model, (8, 4, 4)).layers

    assert layer.macs == 8 * 16 * 9
    assert layer.n_weights == 8 * 9


@pytest.mark.parametrize(
    ("activation_bits", "picojoules"),
    [
        ((4, 4), 0.024 + 0.1),
        ((8, 8), 0.057 + 0.1),
        ((16, 16), 0.13 + 0.1),
        (None, 0.13 + 0.9),
    ],
)
def test_a_shift_costs_what_is_published_for_its_bits(activation_bits, picojoules):
    model = convert_to_shift(nn.Linear(10, 4), ShiftConfig(activation_bits=activation_bits), 1)

    assert estimate_cost(model, (10,)).compute_joules == pytest.approx(40 * picojoules * 1e-12)


def test_more_activation_bits_cost_more():
    costs = [
        estimate_cost(
            convert_to_shift(nn.Linear(10, 4), ShiftConfig(activation_bits=(1, bits)), 1), (10,)
        ).compute_joules
        for bits in range(33)
    ]

    assert costs == sorted(set(costs))


def test_fewer_shift_layers_cost_more():
    costs = [estimate_cost(resnet20(depth), SHAPE).total_joules for depth in (0, 5, 10, 20)]

    assert costs == sorted(set(costs), reverse=True)


def test_more_weight_bits_cost_more_memory():
    costs = [estimate_cost(resnet20(20, ShiftConfig(weight_bits=bits)), SHAPE).memory_joules for bits in (2, 3, 5, 8)]

    assert costs == sorted(set(costs))


def test_a_layer_that_runs_twice_counts_twice():
    shared = nn.Conv2d(3, 3, 3, padding=1)

    (once,) = estimate_cost(nn.Sequential(shared), (3, 6, 6)).layers
    (twice,) = estimate_cost(nn.Sequential(shared, shared), (3, 6, 6)).layers

    assert twice.macs == 2 * once.macs
    assert twice.n_activations == 2 * once.n_activations


def test_an_unknown_technology_is_refused():
    with pytest.raises(ValueError, match=r"technology must be one of \['45nm'\], got '7nm'"):
        estimate_cost(nn.Linear(3, 2), (3,), technology="7nm")


def test_layers_are_named_in_the_order_in_which_they_run():
    names = [layer.name for layer in estimate_cost(resnet20(), SHAPE).layers]

    assert names[:3] == ["stem", "blocks.0.conv1", "blocks.0.conv2"]
    assert names[-1] == "head"


def test_estimating_leaves_the_network_as_it_was():
    model = resnet20(5).train()
    model.blocks[0].norm1.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]

    estimate_cost(model, SHAPE)

    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize(
    ("quantizer", "weight_bits", "n_terms"),
    [("deepshift-q", 4, 1), ("deepshift-ps", 4, 1), ("s3", 4, 1), ("denseshift", 4, 1), ("apot", 4, 2), ("apot", 2, 1)],
)
def test_each_power_of_two_in_a_weight_is_a_shift_and_an_add(quantizer, weight_bits, n_terms):
    model = convert_to_shift(nn.Linear(10, 4), ShiftConfig(quantizer, weight_bits, activation_bits=(4, 4)))

    cost = estimate_cost(model, (10,))

    assert cost.layers[0].n_terms == n_terms
    assert cost.compute_joules == pytest.approx(40 * n_terms * (0.024 + 0.1) * 1e-12)


def test_the_twin_of_apot_multiplies_once():
    model = convert_to_shift(nn.Linear(10, 4), ShiftConfig("apot"))

    assert estimate_cost(model, (10,)).twin("fp32") == estimate_cost(nn.Linear(10, 4), (10,))


@pytest.mark.parametrize(
    "config", [None, *(ShiftConfig(name) for name in QUANTIZER_NAMES)], ids=["float", *QUANTIZER_NAMES]
)
@pytest.mark.parametrize(
    ("layer", "size", "macs", "n_weights", "n_activations"),
    [
        # Outputs: 6 x 4.
        (lambda: nn.Conv1d(4, 6, 3, stride=2), (4, 9), 6 * 4 * 4 * 3, 6 * 4 * 3 + 6, 4 * 9 + 6 * 4),
        (lambda: nn.Conv1d(4, 6, 3, groups=2, bias=False), (4, 5), 6 * 3 * 2 * 3, 6 * 2 * 3, 4 * 5 + 6 * 3),
        # Outputs: 5 x 2 x 3 x 4.
        (lambda: nn.Conv3d(2, 5, 2), (2, 3, 4, 5), 5 * 24 * 2 * 8, 5 * 2 * 8 + 5, 2 * 60 + 5 * 24),
        # Each input value is multiplied with every weight of its channel. Outputs: 6 x 9 x 9 and 6 x 10 x 10.
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 4, 4), 64 * 6 * 9, 4 * 6 * 9 + 6, 64 + 6 * 81),
        (
            lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2, bias=False),
            (4, 4, 4),
            64 * 3 * 9,
            4 * 3 * 9,
            64 + 6 * 100,
        ),
    ],
    ids=["conv1d", "conv1d-groups", "conv3d", "transpose", "transpose-groups"],
)  # fmt: skip
def test_counts_of_a_layer_are_as_by_hand(layer, size, macs, n_weights, n_activations, config):
    model = layer() if config is None else convert_to_shift(layer(), config)

    (counted,) = estimate_cost(model, size).layers

    assert (counted.macs, counted.n_weights, counted.n_activations) == (macs, n_weights, n_activations)


@pytest.mark.parametrize("config", [ShiftConfig(name, 3, per_channel_scale=True) for name in QUANTIZER_NAMES], ids=str)
def test_latents_and_scales_do_not_count_as_weights(config):
    shifted, plain = estimate_cost(resnet20(20, config), SHAPE), estimate_cost(resnet20(), SHAPE)

    assert [layer.n_weights for layer in shifted.layers] == [layer.n_weights for layer in plain.layers]
    assert {layer.weight_bits for layer in shifted.layers} == {3}
