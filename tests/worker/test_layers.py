from __future__ import annotations

import torch
from torch import nn

from shiftlayers import ShiftConfig, ShiftLinear
from worker.families import Int8Linear
from worker.layers import summarize_layers
from worker.schema import LayerSummary


def test_layers_of_all_families_are_told_as_they_evaluate():
    eight = Int8Linear.from_float(nn.Linear(4, 1))
    # A step is 1 / 127: the second weight is rounded to zero, the third up to 64 of 127, the last down to 1.
    eight.weight.data = torch.tensor([[1.0, 0.003, -0.5, 0.01]])
    linear = nn.Linear(2, 1)
    linear.weight.data = torch.tensor([[0.0, 3.0]])
    shift = ShiftLinear.from_float(nn.Linear(2, 1), ShiftConfig(weight_bits=4))
    model = nn.Sequential(eight, linear, shift)

    first, second, third = summarize_layers(model)

    assert first == LayerSummary(
        name="0", n_weights=4, n_zeros=1, exponents={-7: 1, -1: 1, 0: 1}, is_shift=False, weight_bits=8
    )
    assert second == LayerSummary(name="1", n_weights=2, n_zeros=1, exponents={1: 1}, is_shift=False, weight_bits=None)
    assert (third.name, third.is_shift, third.weight_bits) == ("2", True, 4)
