from __future__ import annotations

import pytest
import torch
from torch import nn

from shiftlayers import ShiftConfig, ShiftLinear, round_to_power_of_two

ROUNDINGS = ["nearest", "stochastic-log", "stochastic-linear"]
QUANTIZERS = ["deepshift-q", "deepshift-ps"]


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
