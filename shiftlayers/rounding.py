"""Weights rounded to powers of two and other levels, exact by integer arithmetic, with straight-through gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from shiftlayers.config import RoundingName

_MAGNITUDE = 0x7FFFFFFF
_EXPONENT = 0x7F800000
_SIGN = -0x80000000
_BIAS = 127
# Mantissa bits of sqrt(2): adding this carries into the exponent exactly when |w| >= sqrt(2) * 2^k,
# that is when log2|w| rounds up.
_ROUND_UP = 0x00800000 - 0x003504F4


def round_to_power_of_two(weight: Tensor, low: int, high: int, rounding: RoundingName = "nearest") -> Tensor:
    """The nearest signed power of two of each weight, `sign(w) * 2**clamp(round(log2|w|), low, high)`.

    Zero stays zero and NaN stays NaN. The gradient passes unchanged (straight-through), also where the exponent
    was clamped, so that small weights go on learning.

    Args:
        weight: any shape, floating; computed in float32.
        low: smallest exponent, -126..high.
        high: largest exponent, low..127.
        rounding: `nearest` in the log domain (threshold sqrt(2)); `stochastic-log` rounds log2|w| up with the
            probability of its fraction (DeepShift); `stochastic-linear` rounds up with probability
            |w| / 2**floor(log2|w|) - 1, so that the expected value is w.

    Returns:
        Tensor of the shape and dtype of `weight`.

    Raises:
        ValueError: `low` and `high` are no exponents of normal float32 numbers.
    """
    if not -126 <= low <= high <= 127:
        raise ValueError(f"exponents must satisfy -126 <= low <= high <= 127, got {low}..{high}")
    rounded: Tensor = _PowerOfTwo.apply(weight, low, high, rounding)
    return rounded


def compose_power_of_two(
    shift: Tensor, sign: Tensor, low: int, high: int, rounding: RoundingName = "nearest"
) -> Tensor:
    """Weights `S * 2**P` with P = clamp(round(shift), low, high) and S = sign(round(sign)) in {-1, 0, +1}.

    Gradients as in DeepShift-PS, for g = dL/dW: dshift = g * W * ln 2 (zero where S is zero), dsign = g.

    Args:
        shift: latent exponents, any shape, floating.
        sign: latent signs, the shape of `shift`; the weight is zero where |sign| <= 0.5.
        low: smallest exponent, -126..high.
        high: largest exponent, low..127.
        rounding: as in `round_to_power_of_two`; the sign is rounded by the same draw's law.

    Returns:
        Tensor of the shape and dtype of `shift`; float16 holds exponents down to -24.

    Raises:
        ValueError: shapes differ, or `low` and `high` are no exponents of normal float32 numbers.
    """
    if shift.shape != sign.shape:
        raise ValueError(f"shift and sign must have one shape, got {tuple(shift.shape)} and {tuple(sign.shape)}")
    if not -126 <= low <= high <= 127:
        raise ValueError(f"exponents must satisfy -126 <= low <= high <= 127, got {low}..{high}")
    composed: Tensor = _Compose.apply(shift, sign, low, high, rounding)
    return composed


def round_to_levels(weight: Tensor, levels: tuple[float, ...], rounding: RoundingName = "nearest") -> Tensor:
    """Each weight's magnitude rounded to one of `levels`, with its sign; the gradient passes unchanged.

    Args:
        weight: any shape, floating; computed in float32. NaN stays NaN.
        levels: magnitudes in ascending order, all finite and at least 0.
        rounding: `nearest` in value (ties upwards); `stochastic-linear` goes up with the probability that makes the
            expected value the weight; `stochastic-log` likewise for its logarithm, and `nearest` below the first
            positive level.

    Returns:
        Tensor of the shape and dtype of `weight`.
    """
    rounded: Tensor = _Levels.apply(weight, levels, rounding)
    return rounded


class _PowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, weight: Tensor, low: int, high: int, rounding: RoundingName) -> Tensor:
        w = weight.float()
        bits = w.view(torch.int32)
        magnitude = bits & _MAGNITUDE
        raised = _raise_exponent(w, magnitude, rounding)
        clamped = (raised & _EXPONENT).clamp((_BIAS + low) << 23, (_BIAS + high) << 23)
        rounded = (torch.where(magnitude == 0, 0, clamped) | (bits & _SIGN)).view(torch.float32)
        # Without this line NaN would silently become the largest power.
        return torch.where(w == w, rounded, w).to(weight.dtype)

    @staticmethod
    def backward(_ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad[0], None, None, None


def _raise_exponent(w: Tensor, magnitude: Tensor, rounding: RoundingName) -> Tensor:
    """Magnitude bits of `w` whose exponent field has been carried up where the weight is to be rounded up."""
    if rounding == "nearest":
        return magnitude + _ROUND_UP
    if rounding == "stochastic-linear":
        return magnitude + torch.randint_like(magnitude, 0, 1 << 23)
    mantissa = ((magnitude & ~_EXPONENT) | (_BIAS << 23)).view(torch.float32)
    up = torch.rand_like(w) < torch.log2(mantissa)
    return magnitude + (up.to(torch.int32) << 23)


class _Levels(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, weight: Tensor, levels: tuple[float, ...], rounding: RoundingName) -> Tensor:
        w = weight.float()
        table = torch.tensor(levels, device=w.device)
        magnitude = w.abs().clamp(levels[0], levels[-1])
        above = torch.bucketize(magnitude, table).clamp(1, len(levels) - 1)
        low, high = table[above - 1], table[above]
        threshold = torch.rand_like(w) if rounding != "nearest" else 0.5
        share = (magnitude - low) / (high - low)
        if rounding == "stochastic-log":
            share = torch.where(low > 0, torch.log(magnitude / low) / torch.log(high / low), (share >= 0.5).float())
        rounded = torch.where(share >= threshold, high, low)
        # A share of exactly zero stays on its level, whatever was drawn.
        rounded = torch.where(magnitude == low, low, rounded)
        return torch.where(w == w, torch.copysign(rounded, w), w).to(weight.dtype)

    @staticmethod
    def backward(_ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[0], None, None


class _Compose(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shift: Tensor, sign: Tensor, low: int, high: int, rounding: RoundingName) -> Tensor:
        exponent = _round_exponent(shift, rounding).clamp_(low, high).to(torch.int32)
        power = ((exponent + _BIAS) << 23).view(torch.float32)
        weight = power * torch.sign(_round_sign(sign, rounding))
        # Without this line a NaN latent would silently become an ordinary weight.
        weight = torch.where((shift == shift) & (sign == sign), weight, torch.nan).to(shift.dtype)
        ctx.save_for_backward(weight)
        return weight

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return (grad[0] * weight).mul_(math.log(2)), grad[0], None, None, None


def _round_exponent(shift: Tensor, rounding: RoundingName) -> Tensor:
    if rounding == "nearest":
        return torch.round(shift)
    floor = torch.floor(shift)
    fraction = shift - floor
    up = fraction if rounding == "stochastic-log" else torch.exp2(fraction) - 1
    return floor + (torch.rand_like(shift) < up)


def _round_sign(sign: Tensor, rounding: RoundingName) -> Tensor:
    if rounding == "nearest":
        return torch.round(sign)
    return torch.floor(sign + torch.rand_like(sign))
