"""Shift layers in integer arithmetic, one place of the kernel after the other: what every faster way must equal."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers import ShiftConfig, ShiftLayer, ShiftLinear
from shiftlayers.modules import SHIFT_TYPES

# Weights are whole in units of 2**-WEIGHT_SHIFT.
WEIGHT_SHIFT = 24
PS = ShiftConfig("deepshift-ps", 4, activation_bits=(4, 4))
UNSIGNED = ShiftConfig("deepshift-ps", 4, activation_bits=(4, 4), unsigned_activations=True)


def whole(x: Tensor, layer: ShiftLayer, signed: bool) -> Tensor:
    """`x` in units of 2**-F: rounded, ties to even, then saturated."""
    n_bits, fraction = sum(layer.config.activation_bits), layer.config.activation_bits[1]
    low = -(2 ** (n_bits - 1)) if signed else 0
    return (x.double() * 2.0**fraction).round().clamp(low, low + 2**n_bits - 1).long()


def whole_input(layer: ShiftLayer, x: Tensor) -> Tensor:
    return whole(x, layer, signed=not layer.config.unsigned_activations)


def whole_weight(layer: ShiftLayer) -> Tensor:
    scaled = layer.eval().effective_weight().double() * 2.0**WEIGHT_SHIFT
    assert torch.equal(scaled, scaled.round())
    return scaled.long()


def with_bias(layer: ShiftLayer, sums: Tensor, channel_dim: int) -> Tensor:
    """Whole sums of products as float32, the rounded bias added."""
    if layer.bias is not None:
        bias = whole(layer.bias, layer, signed=True) << WEIGHT_SHIFT
        sums = sums + bias.view(-1, *(1 for _ in range(sums.dim() - channel_dim - 1)))
    exact = sums.double() * 2.0 ** -(layer.config.activation_bits[1] + WEIGHT_SHIFT)
    assert torch.equal(exact, exact.float().double())
    return exact.float()


def integer_linear(layer: ShiftLinear, x: Tensor) -> Tensor:
    sums = (whole_input(layer, x).unsqueeze(-2) * whole_weight(layer)).sum(-1)
    return with_bias(layer, sums, sums.dim() - 1)


def integer_conv(layer: nn.Module, x: Tensor) -> Tensor:
    """The convolution of batched `x` in int64, one place of the kernel after the other."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = whole_input(layer, F.pad(x, layer._reversed_padding_repeated_twice, mode=mode))
    weight, groups = whole_weight(layer), layer.groups
    sizes, reach = padded.shape[2:], [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    ends = [n - r for n, r in zip(sizes, reach, strict=True)]
    sums = torch.zeros((), dtype=torch.int64)
    for place in itertools.product(*map(range, layer.kernel_size)):
        starts = [p * d for p, d in zip(place, layer.dilation, strict=True)]
        window = padded[:, :, *(slice(a, a + n, s) for a, n, s in zip(starts, ends, layer.stride, strict=True))]
        at_place = weight[:, :, *place].unflatten(0, (groups, -1))
        sums = sums + torch.einsum("ngi...,goi->ngo...", window.unflatten(1, (groups, -1)), at_place)
    return with_bias(layer, sums.flatten(1, 2), 1)


def spread(layer: nn.Module, config: ShiftConfig) -> ShiftLayer:
    """A shift layer of float weights of all sizes and signs, some of them zero."""
    shape = layer.weight.shape
    size = torch.randn(shape).sign() * 2 ** (torch.rand(shape) * 8 - 7)
    layer.weight.copy_(torch.where(torch.rand(shape) < 0.1, 0.0, size))
    return SHIFT_TYPES[type(layer)].from_float(layer, config).eval()


def inputs(*shape: int, reach: float = 8.0) -> Tensor:
    """Values within and beyond the range, on the grid, between and midway."""
    x = torch.randn(shape) * reach
    return torch.where(torch.rand(shape) < 0.5, (x * 32).round() / 32, x)
