from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers import ShiftConfig, ShiftConv2d, ShiftLinear, round_to_fixed_point

QUANTIZERS = ["deepshift-q", "deepshift-ps"]
STOCHASTIC = ["stochastic-log", "stochastic-linear"]


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def make_layers(config: ShiftConfig) -> list[tuple[nn.Module, Tensor]]:
    return [
        (ShiftConv2d.from_float(nn.Conv2d(3, 8, 3), config), torch.randn(2, 3, 6, 6)),
        (ShiftLinear.from_float(nn.Linear(12, 8), config), torch.randn(2, 12)),
    ]


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("activation_bits", [None, (4, 4), (1, 3)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (2, 1), "padding": (0, 2)},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"bias": False},
        {"padding": "same"},
    ],
    ids=str,
)
def test_convolution_computes_with_its_effective_weight_and_rounded_input(arguments, activation_bits, quantizer):
    conv = nn.Conv2d(4, 6, 3, **arguments)
    layer = ShiftConv2d.from_float(conv, ShiftConfig(quantizer, 4, activation_bits=activation_bits))
    x = torch.randn(2, 4, 9, 8)

    output = layer(x)

    fixed = (lambda t: t) if activation_bits is None else (lambda t: round_to_fixed_point(t, *activation_bits))
    bias = None if conv.bias is None else fixed(conv.bias)
    expected = F.conv2d(fixed(x), layer.effective_weight(), bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("padding_mode", ["reflect", "circular", "replicate"])
def test_convolution_pads_as_its_float_layer_did(padding_mode):
    conv = nn.Conv2d(3, 5, 3, padding=(1, 2), padding_mode=padding_mode)
    layer = ShiftConv2d.from_float(conv, ShiftConfig(activation_bits=(4, 4)))
    x = torch.randn(2, 3, 7, 6)

    output = layer(x)

    padded = F.pad(round_to_fixed_point(x, 4, 4), (2, 2, 1, 1), mode=padding_mode)
    assert torch.equal(output, F.conv2d(padded, layer.effective_weight(), round_to_fixed_point(conv.bias, 4, 4)))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("activation_bits", [None, (4, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_computes_with_its_effective_weight_and_rounded_input(bias, activation_bits, quantizer):
    linear = nn.Linear(7, 5, bias=bias)
    layer = ShiftLinear.from_float(linear, ShiftConfig(quantizer, 4, activation_bits=activation_bits))
    x = torch.randn(2, 3, 7)

    output = layer(x)

    fixed = (lambda t: t) if activation_bits is None else (lambda t: round_to_fixed_point(t, *activation_bits))
    assert torch.equal(output, F.linear(fixed(x), layer.effective_weight(), fixed(linear.bias) if bias else None))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_float_layer_of_powers_of_two_computes_the_same(quantizer):
    conv = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        conv.weight.copy_(torch.randn_like(conv.weight).sign() * 2.0 ** torch.randint(-6, 1, conv.weight.shape))
    x = torch.randn(2, 3, 6, 6)

    assert torch.equal(ShiftConv2d.from_float(conv, ShiftConfig(quantizer, 4))(x), conv(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rounding", ["nearest", *STOCHASTIC])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_forward_changes_no_parameter(quantizer, rounding, training):
    for layer, x in make_layers(ShiftConfig(quantizer, 2, rounding, (4, 4))):
        before = state(layer)

        layer.train(training)(x)

        after = layer.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("rounding", STOCHASTIC)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_stochastic_rounding_is_random_in_training_only(quantizer, rounding):
    for layer, x in make_layers(ShiftConfig(quantizer, 4, rounding)):
        layer.train()
        assert not torch.equal(layer(x), layer(x))
        layer.eval()
        assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("rounding", STOCHASTIC)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_evaluation_rounds_to_the_nearest(quantizer, rounding):
    conv = nn.Conv2d(3, 8, 3)
    stochastic = ShiftConv2d.from_float(conv, ShiftConfig(quantizer, 4, rounding)).eval()
    nearest = ShiftConv2d.from_float(conv, ShiftConfig(quantizer, 4)).eval()

    assert torch.equal(stochastic.effective_weight(), nearest.effective_weight())


@pytest.mark.parametrize(
    ("float_layer", "shift_class"), [(nn.Conv2d(3, 4, 3), ShiftConv2d), (nn.Linear(3, 4), ShiftLinear)]
)
def test_state_of_q_has_the_keys_of_the_float_layer(float_layer, shift_class):
    layer = shift_class.from_float(float_layer, ShiftConfig("deepshift-q"))

    assert set(layer.state_dict()) == set(float_layer.state_dict())
    layer.load_state_dict(float_layer.state_dict())


@pytest.mark.parametrize(
    ("float_layer", "shift_class"), [(nn.Conv2d(3, 4, 3), ShiftConv2d), (nn.Linear(3, 4), ShiftLinear)]
)
def test_state_of_ps_has_shift_sign_and_bias(float_layer, shift_class):
    layer = shift_class.from_float(float_layer, ShiftConfig("deepshift-ps"))

    assert set(layer.state_dict()) == {"shift", "sign", "bias"}


def test_shift_layers_are_layers_of_torch():
    (conv, _), (linear, _) = make_layers(ShiftConfig())

    assert isinstance(conv, nn.Conv2d)
    assert isinstance(linear, nn.Linear)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_state_makes_an_equal_layer(quantizer):
    for (trained, x), (fresh, _) in zip(
        make_layers(ShiftConfig(quantizer)), make_layers(ShiftConfig(quantizer)), strict=True
    ):
        fresh.load_state_dict(trained.state_dict())

        assert torch.equal(fresh(x), trained(x))


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_float_layer_is_kept(training):
    assert ShiftConv2d.from_float(nn.Conv2d(3, 4, 3).train(training), ShiftConfig()).training is training
    assert ShiftLinear.from_float(nn.Linear(3, 4).train(training), ShiftConfig()).training is training


def test_making_a_shift_layer_draws_no_random_numbers():
    conv, linear = nn.Conv2d(3, 4, 3), nn.Linear(3, 4)
    before = torch.get_rng_state()

    ShiftConv2d.from_float(conv, ShiftConfig("deepshift-ps"))
    ShiftLinear.from_float(linear, ShiftConfig("deepshift-ps"))

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_every_parameter_gets_a_gradient(quantizer):
    for layer, x in make_layers(ShiftConfig(quantizer, activation_bits=(4, 4))):
        layer(x).square().sum().backward()

        assert all(p.grad is not None and (p.grad != 0).any() for p in layer.parameters())
