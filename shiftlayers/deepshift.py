"""DeepShift's published arithmetic, faults included, so that its results can be reproduced bit for bit.

The formulas are those of Elhoushi et al. (arXiv 1905.13298) as their code computes them; what is wrong with them stands
beside each.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from shiftlayers.config import RoundingName


def weight_q(weight: Tensor, rounding: RoundingName) -> Tensor:
    """sign(w) * 2**round(ln|w| / ln 2), w already in range; near sqrt(2) * 2**k the logarithm may err by a power."""
    rounded: Tensor = _PowerOfTwo.apply(weight, rounding)
    return rounded


def weight_ps(shift: Tensor, sign: Tensor, rounding: RoundingName) -> Tensor:
    """2**round(shift) * sign(round(sign)), shift already in range; dshift = g * w * ln 2 and dsign = g."""
    composed: Tensor = _Compose.apply(shift, sign, rounding)
    return composed


def fixed_point(x: Tensor, integer_bits: int, fraction_bits: int) -> Tensor:
    """Rounded down, not to nearest, and clamped below 2**(I-1) - 1, which loses the fraction of the top step.

    With one integer bit it is sign(x) - 1. The gradient passes unchanged, also where the value saturated.
    """
    fixed: Tensor = _FixedPoint.apply(x, integer_bits, fraction_bits)
    return fixed


class _PowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, weight: Tensor, rounding: RoundingName) -> Tensor:
        exponent = _round(torch.log(weight.abs()) / math.log(2), rounding)
        return 2.0**exponent * torch.sign(weight)

    @staticmethod
    def backward(_ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return grad[0], None


class _Compose(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shift: Tensor, sign: Tensor, rounding: RoundingName) -> Tensor:
        power, kept = 2.0 ** _round(shift, rounding), torch.sign(_round(sign, rounding))
        ctx.save_for_backward(power, kept)
        return power * kept

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor, None]:
        power, kept = ctx.saved_tensors
        return grad[0] * kept * power * math.log(2), grad[0], None


class _FixedPoint(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, integer_bits: int, fraction_bits: int) -> Tensor:
        if integer_bits == 1:
            return torch.sign(x) - 1
        step, bound = 2.0**-fraction_bits, 2.0 ** (integer_bits - 1)
        return torch.clamp(torch.floor(x / step) * step, -bound, bound - 1)

    @staticmethod
    def backward(_ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[0], None, None


def _round(x: Tensor, rounding: RoundingName) -> Tensor:
    if rounding == "nearest":
        return x.round()
    floor = x.floor()
    return floor + torch.bernoulli(x - floor)
