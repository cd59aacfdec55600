"""In which number formats a shift network computes without any rounding error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from shiftlayers.fold import evaluated_weight
from shiftlayers.modules import ShiftConvTranspose2d, ShiftLayer
from shiftlayers.tracing import fan_in


@dataclass(frozen=True)
class NumberFormat:
    """What a format holds exactly.

    Attributes:
        weight_span: largest distance of the exponents of two weights.
        weight_significand: bits of a weight from its highest to its lowest one.
        activation_bits: magnitude bits of a fixed-point activation, its sign not counted.
        accumulator_bits: bits of magnitude that a sum may have.
        unsigned_bits: bits of an activation without a sign; None where they are as many as `activation_bits`.
    """

    weight_span: int
    weight_significand: int
    activation_bits: int
    accumulator_bits: int
    unsigned_bits: int | None = None


# Floating point: significand of the format with its hidden bit; fp32 accumulators hold 24 bits, whatever the order of
# summation. int8: a weight up to 64 stays clear of the saturating 16-bit step of AVX2 kernels. fp8: products are
# exact, but Hopper's tensor cores are reported to accumulate about 14 bits.
FORMATS: Mapping[str, NumberFormat] = {
    "fp32": NumberFormat(253, 24, 24, 24),
    "tf32": NumberFormat(253, 11, 11, 24),
    "bf16": NumberFormat(253, 8, 8, 24),
    "fp16": NumberFormat(39, 11, 11, 24),
    "int8": NumberFormat(6, 7, 7, 31, unsigned_bits=8),
    "fp8-e4m3": NumberFormat(17, 4, 4, 14),
    "fp8-e5m2": NumberFormat(31, 3, 3, 14),
}


@dataclass(frozen=True)
class LayerExactness:
    """In which formats one layer is exact.

    Attributes:
        name: of the layer in the network.
        fan_in: K, products in one sum.
        span: S, distance of the largest and smallest exponent that a weight may have.
        used_span: the same of the weights as they are, over all channels the largest.
        guaranteed: formats that are exact for any weights of this config, where K * 2^(A + S) plus the largest bias,
            in steps of a product, is at most 2^P.
        as_trained: formats that are exact for these weights, where in every output channel the sum of the weights'
            magnitudes, in units of the smallest one, times 2^A plus the bias is at most 2^P.
    """

    name: str
    fan_in: int
    span: int
    used_span: int
    guaranteed: frozenset[str]
    as_trained: frozenset[str]


def exactness_report(model: nn.Module, activation_bits: int | tuple[int, int]) -> list[LayerExactness]:
    """For each shift layer of `model`, the formats in which it computes exactly what integer arithmetic would.

    Args:
        model: a network with shift layers; the weights of evaluation count.
        activation_bits: bits of the fixed-point inputs of every layer, 1 or more; or (integer bits, fraction bits).
            One of them is the sign, unless the layer has `unsigned_activations`. Only the pair tells on which grid
            biases are; with a number alone they are left out.

    Returns:
        One entry a shift layer, in the order of registration. P are the bits of the format's accumulator and A the
        magnitude bits of an input, so a sum that stays on one grid below 2^P is exact in any order. That is so for
        algorithms that multiply and add (GEMM, direct convolution; Winograd and FFT make other numbers) and outputs in
        float32. Formats of a narrow range, such as fp16, hold weights after a power of two is taken out of them, which
        changes no digit.

    Raises:
        ValueError: `activation_bits` is less than 1.
    """
    n_bits = activation_bits if isinstance(activation_bits, int) else sum(activation_bits)
    fraction = None if isinstance(activation_bits, int) else activation_bits[1]
    if n_bits < 1:
        raise ValueError(f"activation_bits must be at least 1 bit, got {activation_bits}")
    return [
        _report(name, layer, n_bits, fraction) for name, layer in model.named_modules() if isinstance(layer, ShiftLayer)
    ]


def _report(name: str, layer: ShiftLayer, n_bits: int, fraction: int | None) -> LayerExactness:
    signed = not layer.config.unsigned_activations
    largest_input = 2.0 ** (n_bits - signed)
    positive = [level for level in layer.config.levels if level > 0]
    # The grid is the lowest one bit of any level; the span reaches from there to the highest.
    grid = min(lowest_bit(torch.tensor(positive, dtype=torch.float64)).tolist())
    span = _exponent(max(positive)) - _exponent(grid)
    k = fan_in(layer)
    largest = k * 2.0**span * largest_input + _largest_bias(layer, grid, n_bits, fraction)
    guaranteed = _fitting(span, span + 1 if layer.config.quantizer == "apot" else 1, largest, n_bits, signed)
    sums, used_span, significand = _measure(layer, largest_input, fraction)
    as_trained = _fitting(used_span, significand, sums, n_bits, signed)
    return LayerExactness(name, k, span, used_span, guaranteed, as_trained)


def _fitting(span: int, significand: int, largest_sum: float, n_bits: int, signed: bool) -> frozenset[str]:
    """Formats that hold such weights, inputs of `n_bits`, and sums of `largest_sum` steps of a product."""
    magnitude_bits = n_bits - signed
    return frozenset(
        name
        for name, f in FORMATS.items()
        if span <= f.weight_span
        and significand <= f.weight_significand
        and magnitude_bits <= (f.activation_bits if signed or f.unsigned_bits is None else f.unsigned_bits)
        and largest_sum <= 2.0**f.accumulator_bits
    )


def _largest_bias(layer: ShiftLayer, grid: float, n_bits: int, fraction: int | None) -> float:
    """The largest bias of the fixed point, in steps of the finest product that the present scales make."""
    if layer.bias is None or fraction is None:
        return 0.0
    scale = 1.0 if layer.scale is None else layer.scale.min().item()
    return 2.0 ** (n_bits - 1) / min(grid * scale, 1.0)


def _measure(layer: ShiftLayer, largest_input: float, fraction: int | None) -> tuple[float, int, int]:
    """Over all output channels: the largest sum in steps of the channel's products, span, significand."""
    weight = evaluated_weight(layer).double().abs()
    if isinstance(layer, ShiftConvTranspose2d):
        weight = weight.transpose(0, 1)
    bias = _biases(layer, weight.shape[0], fraction)
    sums, span, significand = 0.0, 0, 1
    for channel, offset in zip(weight.flatten(1), bias.tolist(), strict=True):
        used = channel[channel > 0]
        if len(used):
            lowest = lowest_bit(used)
            grid = lowest.min().item()
            # A bias is on the grid of the inputs: where weights are above one it is the finer of the two.
            finer = max(grid, 1.0) if offset else 1.0
            sums = max(sums, used.sum().item() / grid * largest_input * finer + offset / min(grid, 1.0))
            span = max(span, _exponent(used.max().item()) - _exponent(grid))
            significand = max(significand, *((torch.frexp(used)[1] - torch.frexp(lowest)[1]) + 1).tolist())
    return sums, span, significand


def _biases(layer: ShiftLayer, n_sums: int, fraction: int | None) -> Tensor:
    """Magnitudes of the biases in steps of the inputs, one for each sum; zeros where their fixed point is unknown."""
    if layer.bias is None or fraction is None:
        return torch.zeros(n_sums, dtype=torch.float64)
    bias = cast(Tensor, layer.bias).detach().cpu().double().abs() * 2.0**fraction
    return bias.reshape(-1, n_sums).amax(0).round()


def lowest_bit(x: Tensor) -> Tensor:
    """The lowest one bit of each double, at least 0, as a power of two; zero of zero. Any shape."""
    mantissa, exponent = torch.frexp(x)
    whole = (mantissa * 2.0**53).to(torch.int64)
    return torch.ldexp((whole & -whole).double(), exponent - 53)


def _exponent(x: float) -> int:
    return int(torch.frexp(torch.tensor(x, dtype=torch.float64))[1]) - 1
