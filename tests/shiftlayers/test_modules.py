from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from pytorch_optimizer import Ranger
from torch import Tensor, nn

from shiftlayers import (
    ShiftConfig,
    ShiftConv1d,
    ShiftConv2d,
    ShiftConv3d,
    ShiftConvTranspose2d,
    ShiftLinear,
    round_to_fixed_point,
)
from shiftlayers.config import QUANTIZER_NAMES

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


# All layers


TRANSPOSED = {"stride": 2, "output_padding": 1, "groups": 2}
ALL = [
    (nn.Conv1d, ShiftConv1d, (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 9)),
    (nn.Conv2d, ShiftConv2d, (4, 6, 3), {"stride": (2, 1), "groups": 2, "bias": False}, (2, 4, 9, 8)),
    (nn.Conv3d, ShiftConv3d, (4, 6, 2), {"padding": 1, "padding_mode": "circular"}, (2, 4, 5, 4, 3)),
    (nn.ConvTranspose2d, ShiftConvTranspose2d, (4, 6, 3), {}, (2, 4, 5, 6)),
    (nn.ConvTranspose2d, ShiftConvTranspose2d, (4, 6, 3), TRANSPOSED, (2, 4, 3, 4)),
    (nn.ConvTranspose2d, ShiftConvTranspose2d, (4, 6, (3, 2)), {"dilation": 2, "bias": False}, (2, 4, 5, 6)),
    (nn.Linear, ShiftLinear, (7, 5), {}, (2, 3, 7)),
]  # fmt: skip
every_layer = pytest.mark.parametrize(("float_class", "shift_class", "sizes", "options", "shape"), ALL)
every_quantizer = pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)


@every_layer
@pytest.mark.parametrize("per_channel_scale", [False, True])
@every_quantizer
def test_a_layer_equals_the_float_layer_that_has_its_effective_weight(
    float_class, shift_class, sizes, options, shape, quantizer, per_channel_scale
):
    config = ShiftConfig(quantizer, activation_bits=(4, 4), per_channel_scale=per_channel_scale)
    reference = float_class(*sizes, **options)
    layer = shift_class.from_float(reference, config)
    x = torch.randn(shape)

    with torch.no_grad():
        output = layer(x)
        reference.weight.copy_(layer.effective_weight())
        if reference.bias is not None:
            reference.bias.copy_(round_to_fixed_point(reference.bias, 4, 4))
        expected = reference(round_to_fixed_point(x, 4, 4))

    assert torch.equal(output, expected)


@every_layer
@every_quantizer
def test_a_layer_built_directly_is_the_one_made_from_the_float_layer(
    float_class, shift_class, sizes, options, shape, quantizer
):
    torch.manual_seed(1)
    direct = shift_class(*sizes, config=ShiftConfig(quantizer, 3), **options)
    torch.manual_seed(1)
    made = shift_class.from_float(float_class(*sizes, **options), ShiftConfig(quantizer, 3))
    x = torch.randn(shape)

    assert isinstance(direct, float_class)
    assert isinstance(made, float_class)
    assert torch.equal(direct(x), made(x))


def test_a_layer_built_without_config_is_deepshift_q_of_four_bits():
    assert ShiftLinear(3, 2).config == ShiftConfig("deepshift-q", 4)


def test_a_transposed_convolution_gives_the_output_size_asked_for():
    conv = nn.ConvTranspose2d(3, 4, 3, stride=2)
    layer = ShiftConvTranspose2d.from_float(conv, ShiftConfig())
    x = torch.randn(1, 3, 5, 5)

    assert layer(x).shape == (1, 4, 11, 11)
    assert layer(x, output_size=[12, 12]).shape == (1, 4, 12, 12)


def test_a_transposed_convolution_has_a_scale_for_each_output_channel():
    config = ShiftConfig(per_channel_scale=True)

    layer = ShiftConvTranspose2d.from_float(nn.ConvTranspose2d(4, 6, 3, groups=2), config)

    assert layer.scale.shape == (1, 3, 1, 1)


@every_layer
def test_a_layer_made_from_a_float_layer_keeps_hooks_mode_and_bias(float_class, shift_class, sizes, options, shape):
    reference = float_class(*sizes, **options).eval()
    calls = []
    reference.register_forward_pre_hook(lambda *_: calls.append("before"))
    reference.register_forward_hook(lambda *_: calls.append("after"))

    layer = shift_class.from_float(reference, ShiftConfig("deepshift-ps"))
    layer(torch.randn(shape))

    assert calls == ["before", "after"]
    assert not layer.training
    assert layer.bias is reference.bias


def test_hooks_added_later_are_not_shared_with_the_float_layer():
    linear = nn.Linear(3, 2)
    layer = ShiftLinear.from_float(linear, ShiftConfig())

    layer.register_forward_hook(lambda *_: None)

    assert not linear._forward_hooks


@every_layer
@every_quantizer
def test_a_copy_and_a_saved_layer_and_a_loaded_state_compute_the_same(
    float_class, shift_class, sizes, options, shape, quantizer
):
    config = ShiftConfig(quantizer, per_channel_scale=True)
    layer = shift_class(*sizes, config=config, **options).eval()
    x = torch.randn(shape)
    with torch.no_grad():
        expected = layer(x)

    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    fresh = shift_class(*sizes, config=config, **options).eval()
    fresh.load_state_dict(layer.state_dict())

    others = [copy.deepcopy(layer), torch.load(file, weights_only=False), pickle.loads(pickle.dumps(layer)), fresh]
    with torch.no_grad():
        assert all(torch.equal(other(x), expected) for other in others)


# The weight of evaluation is computed once


def evaluated(quantizer: str = "deepshift-q", **config) -> ShiftLinear:
    """A layer in evaluation whose weight has been computed."""
    layer = ShiftLinear(6, 5, config=ShiftConfig(quantizer, **config)).eval()
    with torch.no_grad():
        layer(torch.ones(1, 6))
    return layer


def latents(layer: nn.Module) -> list[nn.Parameter]:
    return [p for name, p in layer.named_parameters() if name != "bias"]


def negate_in_place(layer: nn.Module) -> None:
    with torch.no_grad():
        for latent in latents(layer):
            latent.neg_()


def negate_data(layer: nn.Module) -> None:
    for latent in latents(layer):
        latent.data.neg_()
    # PyTorch counts no change through `.data`: it is seen after the next switch of the mode.
    layer.eval()


def negate_by_assignment_of_data(layer: nn.Module) -> None:
    for latent in latents(layer):
        latent.data = -latent.data


def negate_by_optimizer(layer: nn.Module) -> None:
    optimizer = torch.optim.SGD(latents(layer), lr=2.0)
    for latent in latents(layer):
        latent.grad = latent.detach().clone()
    optimizer.step()


def negate_by_state(layer: nn.Module) -> None:
    layer.load_state_dict(
        {name: value if name in ("bias", "scale") else -value for name, value in layer.state_dict().items()}
    )


def negate_by_assigned_state(layer: nn.Module) -> None:
    state = {name: value if name in ("bias", "scale") else -value for name, value in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)


def negate_vector(layer: nn.Module) -> None:
    nn.utils.vector_to_parameters(-nn.utils.parameters_to_vector(latents(layer)).detach(), latents(layer))


@every_quantizer
def test_the_weight_of_evaluation_is_computed_once(quantizer):
    layer = evaluated(quantizer)

    with torch.no_grad():
        assert layer.effective_weight() is layer.effective_weight()


@pytest.mark.parametrize(
    "negate",
    [
        negate_in_place,
        negate_data,
        negate_by_assignment_of_data,
        negate_by_optimizer,
        negate_by_state,
        negate_by_assigned_state,
        negate_vector,
    ],
)
@every_quantizer
def test_a_change_of_the_latents_is_seen_in_evaluation(quantizer, negate):
    layer = evaluated(quantizer)

    negate(layer)

    with torch.no_grad():
        assert torch.equal(layer.effective_weight(), layer._compute_weight())


def test_a_change_of_the_scale_is_seen_in_evaluation():
    layer = evaluated("s3")
    before = layer.effective_weight().detach().clone()

    layer.scale.mul_(2)

    with torch.no_grad():
        assert torch.equal(layer.effective_weight(), 2 * before)


def test_steps_of_training_between_evaluations_are_seen():
    layer = evaluated()
    optimizer = Ranger(layer.parameters(), lr=0.5, k=2)
    outputs = []

    for _ in range(3):
        layer.train()(torch.ones(1, 6)).sum().backward()
        optimizer.step()
        with torch.no_grad():
            outputs.append(torch.equal(layer.eval().effective_weight(), layer._compute_weight()))

    assert outputs == [True] * 3


def test_a_layer_cast_after_evaluation_computes_in_its_new_type():
    layer = evaluated().double()

    with torch.no_grad():
        assert layer(torch.ones(1, 6, dtype=torch.float64)).dtype == torch.float64


def test_a_copy_of_an_evaluated_layer_goes_its_own_way():
    layer = evaluated()
    copied = copy.deepcopy(layer)

    negate_in_place(copied)

    with torch.no_grad():
        assert torch.equal(copied.effective_weight(), -layer.effective_weight())


def test_weights_passed_from_outside_are_never_mistaken_for_others():
    layer = evaluated()
    layer.bias = None

    with torch.no_grad():
        for exponent in range(8):
            weights = {"weight": torch.full((5, 6), 2.0**-exponent)}
            output = torch.func.functional_call(layer, weights, torch.ones(1, 6))
            assert output.tolist() == [[6 * 2.0**-exponent] * 5]
            del weights


@every_quantizer
def test_gradients_flow_in_evaluation(quantizer):
    layer = evaluated(quantizer)

    layer(torch.ones(1, 6)).sum().backward()

    assert all(p.grad is not None for p in layer.parameters())


@every_quantizer
def test_inference_mode_works_before_and_after_other_modes(quantizer):
    layer = ShiftLinear(6, 5, config=ShiftConfig(quantizer)).eval()
    x = torch.randn(2, 6)

    with torch.inference_mode():
        first = layer(x).clone()
    with torch.no_grad():
        second = layer(x)
    third = layer(x)
    third.sum().backward()
    with torch.inference_mode():
        fourth = layer(x)

    assert all(torch.equal(first, other) for other in (second, third, fourth))


def test_a_layer_evaluated_in_inference_mode_can_be_copied_and_saved():
    layer = ShiftLinear(6, 5).eval()
    with torch.inference_mode():
        layer(torch.ones(1, 6))
    file = io.BytesIO()

    torch.save(layer, file)
    file.seek(0)

    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(other(torch.ones(1, 6)), layer(torch.ones(1, 6)))


def test_a_layer_made_in_inference_mode_computes():
    with torch.inference_mode():
        layer = ShiftLinear(6, 5).eval()
        assert torch.equal(layer(torch.ones(1, 6)), layer(torch.ones(1, 6)))
