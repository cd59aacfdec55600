"""Fixed-point activations: rounded to the nearest number of a grid of powers of two, in few passes over the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Adding and subtracting 1.5 * 2**(23 - F) rounds a float32 to a multiple of 2**-F, ties to even, while the sum stays in
# one binade: up to 2**(22 - F) in magnitude.
_MANTISSA_BITS = 23
# From a power of two to the next float32, and from zero to the next normal one.
_EPSILON, _TINY = 2.0**-23, 2.0**-126


def round_to_fixed_point(x: Tensor, integer_bits: int, fraction_bits: int, signed: bool = True) -> Tensor:
    """The nearest fixed-point number of I + F bits, a multiple of 2**-F; ties go to even, NaN stays NaN.

    The range is [-2**(I-1), 2**(I-1) - 2**-F], or unsigned [0, 2**I - 2**-F]. The gradient is one for
    -2**(I-1) <= x < 2**(I-1), or unsigned 0 <= x < 2**I, and zero beyond, where `x` saturates.

    Args:
        x: any shape, floating; computed in float32 at least.
        integer_bits: I, the sign included, 1..32.
        fraction_bits: F, 0..32.
        signed: whether one of the integer bits is the sign.

    Returns:
        Tensor of the shape and dtype of `x`. Where the grid is finer than float32 near the top, the top is the
        largest float32 below it; what bfloat16 or float16 cannot hold is rounded once more, to that dtype.

    Raises:
        ValueError: bits outside these ranges.
    """
    if not (1 <= integer_bits <= 32 and 0 <= fraction_bits <= 32):
        raise ValueError(
            f"fixed point needs 1..32 integer and 0..32 fraction bits, got {integer_bits}, {fraction_bits}"
        )
    fixed: Tensor = _FixedPoint.apply(x, integer_bits, fraction_bits, signed)
    return fixed


def fixed_point_range(integer_bits: int, fraction_bits: int, signed: bool = True) -> tuple[float, float]:
    """The smallest and the largest fixed-point number that is a float32, whose significand has 24 bits."""
    bound = 2.0 ** (integer_bits - 1 if signed else integer_bits)
    return -bound if signed else 0.0, bound - max(2.0**-fraction_bits, bound * 2.0**-24)


class FixedPoint(nn.Module):
    """Rounds its input to fixed point; arguments of `round_to_fixed_point`. Input and output of any one shape."""

    def __init__(self, integer_bits: int, fraction_bits: int, signed: bool = True) -> None:
        super().__init__()
        self.integer_bits = integer_bits
        self.fraction_bits = fraction_bits
        self.signed = signed

    def forward(self, input: Tensor) -> Tensor:
        return round_to_fixed_point(input, self.integer_bits, self.fraction_bits, self.signed)

    def extra_repr(self) -> str:
        return f"{self.integer_bits}, {self.fraction_bits}, signed={self.signed}"


class _FixedPoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, integer_bits: int, fraction_bits: int, signed: bool) -> Tensor:
        limits: tuple[float, float] | None
        limits = bottom, top = fixed_point_range(integer_bits, fraction_bits, signed)
        wide = x.float() if x.dtype.itemsize < 4 else x
        if _is_within(wide, bottom, top):
            limits = None
        else:
            ctx.save_for_backward(x)
            ctx.passing = bottom * (1 + _EPSILON) - _TINY, 2.0 ** (integer_bits - signed)
        return _round(wide, fraction_bits, integer_bits - signed + fraction_bits, limits).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None, None]:
        # Read once: a checkpoint gives them out only once.
        saved = ctx.saved_tensors
        if not saved:
            return grad[0], None, None, None
        (x,) = saved
        # Of the kernels that do this, the fastest by far; it takes its limits as outside.
        passed: Tensor = torch.ops.aten.hardtanh_backward(grad[0], x, *ctx.passing)
        return passed, None, None, None


def _is_within(x: Tensor, bottom: float, top: float) -> bool:
    """Whether nothing can saturate; one cheap look on a CPU spares two passes, on a GPU it would have to wait."""
    # What is traced must not depend on the values that it was traced with.
    is_traced = type(x) is not Tensor or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    if x.device.type != "cpu" or is_traced or not x.numel():
        return False
    lowest, highest = torch.aminmax(x)
    return lowest.item() >= bottom and highest.item() <= top


def _round(x: Tensor, fraction_bits: int, n_bits: int, limits: tuple[float, float] | None) -> Tensor:
    """The multiple of 2**-F nearest to each value, clamped to `limits`, whose magnitude takes at most `n_bits`."""
    # A compiler fuses the plain form, and might simplify the other one away.
    if x.dtype == torch.float32 and n_bits < _MANTISSA_BITS and not torch.compiler.is_compiling():
        magic = 1.5 * 2.0 ** (_MANTISSA_BITS - fraction_bits)
        rounded = x + magic
        if limits is not None:
            rounded.clamp_(magic + limits[0], magic + limits[1])
        return rounded.sub_(magic)
    scale = 2.0**fraction_bits
    rounded = (x * scale).round_()
    if limits is not None:
        rounded.clamp_(limits[0] * scale, limits[1] * scale)
    return rounded.mul_(1 / scale)
