"""A program on whole numbers: its tensors, each on a grid of a power of two, and its operations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class IntegerTensor:
    """Whole numbers that stand for multiples of a power of two.

    Attributes:
        name: of the node that made it.
        shape: of one image, without the batch.
        fraction: the numbers are multiples of 2**-fraction.
        bound: none is larger in magnitude.
    """

    name: str
    shape: tuple[int, ...]
    fraction: int
    bound: int

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Geometry:
    """Of a convolution or pooling over (channels, height, width); other shapes have heights and widths of 1."""

    channels: int
    height: int
    width: int
    out_channels: int
    out_height: int
    out_width: int
    kernel_size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Operation:
    """One step.

    Attributes:
        kind: `fixed_point`, `convolution`, `maximum`, `sum`, `relu` or `addition`.
        inputs: one tensor, or two of an addition.
        output: what it makes.
        geometry: of a convolution or pooling.
        terms: of a convolution, int64 (out_channels, weights of a sum, terms): 0, or sign * (exponent + 1).
        bias: of a convolution, int64 (out_channels,) on the grid of the output.
        limits: of a fixed point, smallest and largest number.
    """

    kind: str
    inputs: tuple[IntegerTensor, ...]
    output: IntegerTensor
    geometry: Geometry | None = None
    terms: Tensor | None = None
    bias: Tensor | None = None
    limits: tuple[int, int] | None = None


@dataclass(frozen=True)
class IntegerGraph:
    """The steps from an input to an output, and the largest number on the way."""

    input: IntegerTensor
    input_limits: tuple[int, int]
    operations: tuple[Operation, ...]
    output: IntegerTensor
    bound: int
