from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from shiftlayers import ShiftConfig, ShiftLinear, round_to_power_of_two
from shiftlayers.config import QUANTIZER_NAMES

ROUNDINGS = ["nearest", "stochastic-log", "stochastic-linear"]
QUANTIZERS = ["deepshift-q", "deepshift-ps"]
BITS = [2, 3, 4, 5]
APOT_LEVELS = {
    2: [0, 1],
    3: [0, 1 / 2, 1, 3 / 2],
    4: [0, 1 / 16, 1 / 4, 1 / 2, 9 / 16, 3 / 4, 1, 3 / 2],
    5: [i / 32 for i in (0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48)],
}


def shift_linear(linear: nn.Linear, **config) -> ShiftLinear:
    return ShiftLinear.from_float(linear, ShiftConfig(**config))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("weight_bits", [2, 3, 4, 5, 8])
def test_a_layer_starts_from_the_rounded_float_weight(quantizer, weight_bits):
    linear = nn.Linear(40, 30)

    layer = shift_linear(linear, quantizer=quantizer, weight_bits=weight_bits)

    exponents = layer.config.exponent_range
    assert torch.equal(layer.effective_weight(), round_to_power_of_two(linear.weight, *exponents))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_training_a_layer_leaves_the_float_layer_as_it_was(quantizer):
    linear = nn.Linear(4, 3)
    before = linear.weight.detach().clone()
    layer = shift_linear(linear, quantizer=quantizer)

    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()

    assert torch.equal(linear.weight, before)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_weights_at_zero_give_zero_and_finite_gradients(quantizer, rounding):
    linear = nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    layer = shift_linear(linear, quantizer=quantizer, rounding=rounding).train()

    output = layer(torch.ones(2, 4))
    output.sum().backward()

    assert torch.equal(layer.effective_weight(), torch.zeros(3, 4))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("direction", [-1.0, 1.0])
@pytest.mark.parametrize("weight_bits", [2, 3])
def test_few_bits_of_q_can_change_their_sign(weight_bits, direction):
    linear = nn.Linear(1, 1, bias=False)
    nn.init.constant_(linear.weight, 0.05 * direction)
    layer = shift_linear(linear, quantizer="deepshift-q", weight_bits=weight_bits)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    signs = []

    for _ in range(2000):
        optimizer.zero_grad()
        (direction * layer(torch.ones(1, 1))).sum().backward()
        optimizer.step()
        signs.append(layer.effective_weight().sign().item())

    assert signs[0] == direction
    assert signs[-1] == -direction


def test_ps_can_change_a_sign_through_zero():
    linear = nn.Linear(1, 1, bias=False)
    nn.init.constant_(linear.weight, 0.25)
    layer = shift_linear(linear, quantizer="deepshift-ps", weight_bits=3)
    optimizer = torch.optim.SGD([layer.sign], lr=0.01)
    seen = []

    for _ in range(200):
        optimizer.zero_grad()
        layer(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        seen.append(layer.effective_weight().item())

    assert list(dict.fromkeys(seen)) == [0.25, 0.0, -0.25]


# Every quantiser


def levels_of(config: ShiftConfig) -> Tensor:
    """All magnitudes of a weight before its scale, computed from the publications anew."""
    low, high = config.exponent_range
    powers = [2.0**e for e in range(low, high + 1)]
    match config.quantizer:
        case "deepshift-q" | "denseshift":
            return torch.tensor(powers)
        case "deepshift-ps" | "s3":
            return torch.tensor([0.0, *powers])
        case _:
            return torch.tensor(APOT_LEVELS[config.weight_bits])


@pytest.mark.parametrize("exponent", [-3, 0, 2])
@pytest.mark.parametrize("per_channel_scale", [False, True])
@pytest.mark.parametrize("weight_bits", BITS)
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_a_representable_float_weight_is_represented_exactly(quantizer, weight_bits, per_channel_scale, exponent):
    config = ShiftConfig(quantizer, weight_bits, per_channel_scale=per_channel_scale)
    levels = levels_of(config)
    linear = nn.Linear(40, 6)
    with torch.no_grad():
        magnitude = levels[torch.randint(len(levels), (6, 40))]
        magnitude[:, 0] = levels[-1]
        scale = 1.0
        if per_channel_scale:
            scale = 2.0 ** torch.arange(exponent, exponent + 6).view(6, 1)
        elif not quantizer.startswith("deepshift"):
            scale = 2.0**exponent
        linear.weight.copy_(magnitude * torch.randn(6, 40).sign() * scale)

    layer = ShiftLinear.from_float(linear, config)

    assert torch.equal(layer.effective_weight(), linear.weight)


@pytest.mark.parametrize("per_channel_scale", [False, True])
@pytest.mark.parametrize("weight_bits", BITS)
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_converting_an_effective_weight_changes_nothing(quantizer, weight_bits, per_channel_scale):
    config = ShiftConfig(quantizer, weight_bits, per_channel_scale=per_channel_scale)
    linear = nn.Linear(40, 30)
    once = ShiftLinear.from_float(linear, config).effective_weight().detach()

    with torch.no_grad():
        linear.weight.copy_(once)

    assert torch.equal(ShiftLinear.from_float(linear, config).effective_weight(), once)


@pytest.mark.parametrize("weight_bits", BITS)
def test_weights_of_apot_are_sums_of_two_powers_times_the_scale(weight_bits):
    layer = shift_linear(nn.Linear(64, 64), quantizer="apot", weight_bits=weight_bits)

    magnitudes = (layer.effective_weight() / layer.scale).abs().unique()

    assert set(magnitudes.tolist()) <= set(APOT_LEVELS[weight_bits])


@pytest.mark.parametrize("per_channel_scale", [False, True])
@pytest.mark.parametrize("weight_bits", BITS)
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_a_layer_learns(quantizer, weight_bits, per_channel_scale):
    config = ShiftConfig(quantizer, weight_bits, per_channel_scale=per_channel_scale)
    layer = ShiftLinear.from_float(nn.Linear(8, 4), config)
    x = torch.randn(64, 8)
    y = ShiftLinear.from_float(nn.Linear(8, 4), config)(x).detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    losses = []

    for _ in range(300):
        optimizer.zero_grad()
        loss = F.mse_loss(layer(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    # DenseShift at five bits has fifteen steps to agree on, and is the slowest.
    assert min(losses[-20:]) < 0.75 * losses[0]


# S3 and DenseShift


def stepped(quantizer: str, weight_bits: int, n_weights: int) -> ShiftLinear:
    """A layer of random latents without scale."""
    layer = shift_linear(nn.Linear(n_weights, 1, bias=False), quantizer=quantizer, weight_bits=weight_bits)
    with torch.no_grad():
        for latent in layer.parameters():
            latent.normal_()
        layer.scale.fill_(1.0)
    return layer


def step(x: Tensor) -> Tensor:
    return (x > 0).float()


def test_s3_at_three_bits_is_as_published():
    layer = stepped("s3", 3, 1000)
    w2, w1 = layer.steps.detach()

    sign = torch.where(layer.sign < 0, -1.0, 1.0)
    expected = sign * step(layer.sparse) * 2 ** (step(w1) * (step(w2) + 1))
    assert torch.equal(layer.effective_weight(), expected)
    assert layer.effective_weight().unique().tolist() == [-4, -2, -1, 0, 1, 2, 4]


def test_denseshift_at_three_bits_is_as_published():
    layer = stepped("denseshift", 3, 1000)
    t1, t2, t3 = layer.steps.detach()

    e = step(t1)
    e = (e + 1) * step(t2)
    e = (e + 1) * step(t3)
    assert torch.equal(layer.effective_weight(), torch.where(layer.sign < 0, -1.0, 1.0) * 2**e)
    assert layer.effective_weight().unique().tolist() == [-8, -4, -2, -1, 1, 2, 4, 8]


@pytest.mark.parametrize(("quantizer", "weights"), [("s3", [-1, 0, 1]), ("denseshift", [-2, -1, 1, 2])])
def test_two_bits_have_the_weights_of_two_bits(quantizer, weights):
    assert stepped(quantizer, 2, 1000).effective_weight().unique().tolist() == weights


def test_a_latent_at_zero_is_positive_as_a_sign_and_not_taken_as_a_step():
    layer = stepped("s3", 3, 1)
    with torch.no_grad():
        layer.sign.zero_()
        layer.sparse.fill_(1.0)
        layer.steps.zero_()

    assert layer.effective_weight().item() == 1


def test_gradients_of_s3_at_three_bits_are_straight_through():
    layer = stepped("s3", 3, 1000)
    outgoing = torch.randn(1, 1000)

    layer.effective_weight().backward(outgoing)

    sign, present = torch.where(layer.sign < 0, -1.0, 1.0), step(layer.sparse)
    h_2, h_1 = step(layer.steps.detach())
    power = 2 ** (h_1 * (h_2 + 1))
    to_exponent = outgoing * sign * present * power * math.log(2)
    torch.testing.assert_close(layer.sign.grad, outgoing * present * power)
    torch.testing.assert_close(layer.sparse.grad, outgoing * sign * power)
    torch.testing.assert_close(layer.steps.grad, torch.stack([to_exponent * h_1, to_exponent * (h_2 + 1)]))


def test_gradients_of_denseshift_at_three_bits_go_through_the_square_root():
    layer = stepped("denseshift", 3, 1000)
    outgoing = torch.randn(1, 1000)

    layer.effective_weight().backward(outgoing)

    sign = torch.where(layer.sign < 0, -1.0, 1.0)
    h_1, h_2, h_3 = step(layer.steps.detach())
    e_1, e_2 = h_1, (h_1 + 1) * h_2
    e_3 = (e_2 + 1) * h_3
    to_exponent = outgoing * sign / (2 * torch.sqrt(e_3 + 1))
    torch.testing.assert_close(layer.sign.grad, outgoing * torch.sqrt(e_3 + 1))
    expected = torch.stack([to_exponent * h_3 * h_2, to_exponent * h_3 * (e_1 + 1), to_exponent * (e_2 + 1)])
    torch.testing.assert_close(layer.steps.grad, expected)


# Scale of each channel


@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps", "s3", "denseshift"])
def test_scaled_weights_are_zero_or_powers_of_two(quantizer):
    linear = nn.Linear(50, 8)
    with torch.no_grad():
        linear.weight.mul_(10.0 ** torch.arange(-4, 4).view(8, 1))

    layer = shift_linear(linear, quantizer=quantizer, per_channel_scale=True)

    weight = layer.effective_weight()
    mantissas = weight[weight != 0].abs().frexp().mantissa
    assert torch.equal(mantissas, torch.full_like(mantissas, 0.5))
    assert layer.scale.shape == (8, 1)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6))
def test_the_largest_weight_of_a_channel_is_met_within_the_square_root_of_two(log2_magnitudes):
    linear = nn.Linear(9, len(log2_magnitudes))
    with torch.no_grad():
        linear.weight.mul_(torch.tensor([2.0**e for e in log2_magnitudes]).view(-1, 1))

    layer = shift_linear(linear, weight_bits=4, per_channel_scale=True)

    ratio = layer.effective_weight().abs().amax(1) / linear.weight.abs().amax(1)
    assert (ratio >= 2**-0.5001).all()
    assert (ratio <= 2**0.5001).all()


@pytest.mark.parametrize("quantizer", ["deepshift-q", "apot"])
def test_the_gradient_of_a_scaled_weight_passes_to_its_latent_exactly(quantizer):
    layer = shift_linear(nn.Linear(20, 10), quantizer=quantizer, per_channel_scale=True)
    outgoing = torch.randn(10, 20)

    layer.effective_weight().backward(outgoing)

    assert torch.equal(layer.weight.grad, outgoing)


@pytest.mark.parametrize("weight_bits", [*BITS, 8])
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_a_channel_of_zeros_gives_no_nan(quantizer, weight_bits):
    linear = nn.Linear(4, 3)
    with torch.no_grad():
        linear.weight[1] = 0
    layer = shift_linear(linear, quantizer=quantizer, weight_bits=weight_bits, per_channel_scale=True)

    output = layer(torch.ones(2, 4))
    output.sum().backward()

    assert output.isfinite().all()
    assert layer.effective_weight()[1].abs().max() < 1e-30
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("quantizer", ["deepshift-q", "apot"])
def test_a_state_brings_its_scales_along(quantizer):
    linear = nn.Linear(20, 10)
    trained = shift_linear(linear, quantizer=quantizer, per_channel_scale=True)
    with torch.no_grad():
        linear.weight.mul_(100)
    fresh = shift_linear(linear, quantizer=quantizer, per_channel_scale=True)

    fresh.load_state_dict(trained.state_dict())

    assert torch.equal(fresh.effective_weight(), trained.effective_weight())
