"""What the weights of a network are: how many are zero, and how often each power of two is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn

from shiftlayers.fold import evaluated_weight
from shiftlayers.modules import SHIFT_TYPES, ShiftLayer

# Exponent of the smallest float32 above zero.
_SMALLEST = -149


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer as counts.

    Attributes:
        name: of the layer in the network.
        n_weights: all of them, biases not counted.
        n_zeros: of these, those that are exactly zero.
        exponents: for each e the weights with 2**e <= abs(w) < 2**(e + 1), from the smallest e up. Of a shift layer
            these are abs(w) = 2**e, its scale included, and for APoT the larger power of a sum.
        is_shift: the layer is a shift layer.
        weight_bits: of a shift layer; None of any other.
    """

    name: str
    n_weights: int
    n_zeros: int
    exponents: dict[int, int]
    is_shift: bool = False
    weight_bits: int | None = None

    @classmethod
    def of(cls, name: str, weight: Tensor, *, is_shift: bool = False, weight_bits: int | None = None) -> Self:
        """The counts of `weight`, of any shape; what is not finite has no exponent."""
        magnitude = weight.detach().float().abs().flatten()
        kept = magnitude[(magnitude > 0) & magnitude.isfinite()]
        # A float is f * 2**x with 0.5 <= f < 1.
        counts = torch.bincount(torch.frexp(kept).exponent - 1 - _SMALLEST).tolist()
        histogram = {place + _SMALLEST: n for place, n in enumerate(counts) if n}
        n_zeros = int((magnitude == 0).sum())
        return cls(name, magnitude.numel(), n_zeros, histogram, is_shift, weight_bits)


def weights_report(model: nn.Module) -> list[LayerWeights]:
    """The weights that every convolution and linear layer of `model` evaluates with, as it holds them.

    Args:
        model: any network; a layer that is there under several names is reported once.
    """
    return [_weights_of(name, cast(nn.Module, module)) for name, module in model.named_modules()
            if isinstance(module, tuple(SHIFT_TYPES))]  # fmt: skip


def _weights_of(name: str, layer: nn.Module) -> LayerWeights:
    if isinstance(layer, ShiftLayer):
        return LayerWeights.of(name, evaluated_weight(layer), is_shift=True, weight_bits=layer.config.weight_bits)
    return LayerWeights.of(name, cast(Tensor, layer.weight))
