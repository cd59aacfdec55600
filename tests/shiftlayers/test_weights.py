from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shiftlayers import LayerWeights, ShiftConfig, ShiftConv2d, ShiftLinear, convert_to_shift, weights_report


def test_counts_are_as_by_hand():
    weight = torch.tensor([[0.0, 1.0, -1.5], [0.25, -0.3, 2.0]])
    assert LayerWeights.of("a", weight) == LayerWeights("a", 6, 1, {-2: 2, 0: 2, 1: 1})


@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps", "s3", "denseshift", "apot"])
def test_a_shift_layer_has_the_weights_that_it_evaluates_with(quantizer):
    torch.manual_seed(0)
    layer = ShiftLinear.from_float(nn.Linear(64, 32), ShiftConfig(quantizer, 4, per_channel_scale=True)).train()
    (found,) = weights_report(layer)
    weight = layer.eval().effective_weight()
    assert (found.name, found.is_shift, found.weight_bits, found.n_weights) == ("", True, 4, 2048)
    assert found.n_zeros == int((weight == 0).sum())
    assert sum(found.exponents.values()) + found.n_zeros == found.n_weights
    if quantizer != "apot":
        for exponent, n in found.exponents.items():
            assert n == int((weight.abs() == 2.0**exponent).sum())


def test_every_convolution_and_linear_layer_is_reported_and_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3)).train()
    model = convert_to_shift(model, ShiftConfig(weight_bits=3), 1, example_input=torch.zeros(1, 1, 3, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = weights_report(model)
    assert [(f.name, f.n_weights, f.is_shift, f.weight_bits) for f in found] == [("0", 18, False, None),
                                                                                ("3", 6, True, 3)]  # fmt: skip
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_layer_with_two_names_is_reported_once():
    layer = ShiftConv2d(1, 1, 1)
    assert len(weights_report(nn.ModuleList([layer, layer]))) == 1


floats = st.floats(width=32, allow_subnormal=True)


@given(st.lists(floats, max_size=30))
def test_every_finite_weight_lies_between_its_power_and_the_next(values):
    found = LayerWeights.of("a", torch.tensor(values, dtype=torch.float32))
    finite = [abs(v) for v in values if math.isfinite(v) and v != 0]
    assert found.exponents == {
        e: sum(2.0**e <= v < 2.0 ** (e + 1) for v in finite) for e in sorted({math.frexp(v)[1] - 1 for v in finite})
    }
    assert list(found.exponents) == sorted(found.exponents)
    assert found.n_zeros == values.count(0.0)
