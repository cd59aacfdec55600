"""Shift networks in 8-bit integers, through the int8 kernels of PyTorch's oneDNN backend, without a rounding error."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers.exact import lowest_bit
from shiftlayers.flat import quantize_alone
from shiftlayers.fold import evaluated_weight
from shiftlayers.modules import ShiftConv1d, ShiftConv2d, ShiftConv3d, ShiftLayer, ShiftLinear
from shiftlayers.swap import replace_layer

# Without VNNI the kernels add two products of an unsigned and a signed byte in 16 bits, which saturates:
# 2 * 255 * 64 still fits.
MAX_WEIGHT = 64
_N_BITS = 8
# Sums below this, in units of their grid, are exact as float32, which is how the kernels give them back.
_MAX_SUM = 2.0**24


def to_int8(model: nn.Module) -> nn.Module:
    """A copy of `model` for evaluation in which every shift layer computes with 8-bit integers.

    Inputs and outputs of each layer stay float32; in between are bytes and 32-bit sums. The outputs equal those of
    `model` in evaluation, and of integer arithmetic, bit for bit; but integers have no NaN, and an input that is none
    becomes some number. What is no shift layer stays as it is; hooks of shift layers are dropped.

    Args:
        model: a network on the CPU whose every shift layer is a convolution or linear layer with `activation_bits` of
            8 bits at most, weights within each output channel that are multiples up to 64 of the smallest (true of
            deepshift-q up to 3, deepshift-ps and s3 up to 4 bits), and sums below 2^24 steps of their grid.

    Raises:
        ValueError: a layer is not eligible, by name and reason.
        RuntimeError: this build of PyTorch has no oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        raise RuntimeError("to_int8 needs a build of PyTorch with oneDNN, as those for x86 are")
    converted = copy.deepcopy(model)
    for name, layer in list(converted.named_modules()):
        if isinstance(layer, ShiftLayer):
            try:
                integer = Int8Linear(layer) if isinstance(layer, ShiftLinear) else Int8Conv(layer)
            except ValueError as error:
                raise ValueError(f"layer {name!r} cannot run in int8: {error}") from error
            converted = replace_layer(converted, layer, integer)
    quantize_alone(converted)
    return converted.eval()


class _Int8Layer(nn.Module):
    """Weights and inputs of one layer as integers on grids of powers of two.

    Attributes:
        weight: int8, in the shape of the plain layer's weight.
        weight_step: float32 (out_channels,), the value of a weight of 1.
        bias: float32 (out_channels,) or None.
        zero_point: the byte that stands for an input of zero: 128 where inputs have a sign, else 0.
    """

    weight: Tensor
    weight_step: Tensor
    bias: Tensor | None
    # In the layout of the kernels, which cannot be copied or saved, with the weight that it is of and its version.
    _packed: tuple[Tensor, int, Tensor] | None = None

    def __init__(self, layer: ShiftLayer) -> None:
        super().__init__()
        bits = layer.config.activation_bits
        if bits is None or sum(bits) > _N_BITS or layer.config.compat is not None:
            raise ValueError(f"activation_bits must be {_N_BITS} in sum at most and compat None, got {layer.config}")
        signed = not layer.config.unsigned_activations
        self.input_step = 2.0 ** -bits[1]
        self.lowest = -(2 ** (sum(bits) - 1)) if signed else 0
        self.highest = self.lowest + 2 ** sum(bits) - 1
        self.zero_point = 128 if signed else 0
        weight, step = _to_integers(evaluated_weight(layer).cpu())
        bias = layer._fixed_bias()
        self.register_buffer("weight", weight.to(torch.int8))
        self.register_buffer("weight_step", step)
        self.register_buffer("bias", None if bias is None else bias.detach().cpu())
        self._check_sums()

    def _check_sums(self) -> None:
        """The largest sum that any input can make, in units of the finer grid of products and bias."""
        grid = self.weight_step.double() * self.input_step
        sums = self.weight.double().abs().flatten(1).sum(1) * max(-self.lowest, self.highest) * grid
        if self.bias is not None:
            sums += self.bias.double().abs()
            grid = grid.clamp_max(self.input_step)
        largest = (sums / grid).max().item()
        if largest > _MAX_SUM:
            raise ValueError(f"a sum may reach 2^{math.log2(largest):.1f} steps, exact are 2^24")

    def _quantized(self, x: Tensor) -> Tensor:
        """`x` in fixed point as unsigned bytes."""
        rounded = (x / self.input_step).round_().clamp_(self.lowest, self.highest)
        return rounded.add_(self.zero_point).to(torch.uint8)

    def _kernel_arguments(self) -> tuple[Any, ...]:
        zeros = torch.zeros(len(self.weight), dtype=torch.int32)
        packed = self._packed
        version = 0 if self.weight.is_inference() else self.weight._version
        if packed is None or packed[0] is not self.weight or packed[1] != version:
            packed = self._packed = self.weight, version, self._pack()
        return self.input_step, self.zero_point, packed[2], self.weight_step, zeros, self.bias

    @abstractmethod
    def _pack(self) -> Tensor:
        """The weight in the layout of the kernel."""

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_packed"}


class Int8Conv(_Int8Layer):
    """A 1-d, 2-d or 3-d convolution in int8. Input and output as those of the layer it was made of, float32.

    Attributes:
        mode: of `torch.nn.functional.pad`, for `border`, which is what the kernel does not pad by itself.
        geometry: strides, the kernel's own padding, dilations and groups.
        least: the smallest size that an input may have with its border, in each dimension.
    """

    def __init__(self, layer: ShiftLayer) -> None:
        if not isinstance(layer, ShiftConv1d | ShiftConv2d | ShiftConv3d):
            raise ValueError(f"there is no kernel for {type(layer).__name__}")
        super().__init__(layer)
        self.mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padding, self.border = [0] * len(layer.stride), list(layer._reversed_padding_repeated_twice)
        if _may_pad(layer):
            padding, self.border = list(cast(tuple[int, ...], layer.padding)), [0] * len(self.border)
        self.geometry = list(layer.stride), padding, list(layer.dilation), layer.groups
        each = zip(layer.kernel_size, layer.dilation, padding, strict=True)
        self.least = [d * (k - 1) + 1 - 2 * p for k, d, p in each]

    def forward(self, input: Tensor) -> Tensor:
        is_single = input.dim() == len(self.border) // 2 + 1
        x = input.unsqueeze(0) if is_single else input
        # The kernels put channels last; what follows may depend on the layout of the input.
        output = self._convolved(self._padded(x)).contiguous(memory_format=_layout(x))
        return output.squeeze(0) if is_single else output

    def _padded(self, x: Tensor) -> Tensor:
        """`x` as bytes, with its border."""
        if self.mode != "constant":
            return self._quantized(F.pad(x, self.border, mode=self.mode))
        x = self._quantized(x)
        return F.pad(x, self.border, value=self.zero_point) if any(self.border) else x

    def _convolved(self, x: Tensor) -> Tensor:
        if any(size < least for size, least in zip(x.shape[2:], self.least, strict=True)):
            raise RuntimeError(f"the kernel is larger than the padded input, which must be {self.least} at least, "
                               f"got {list(x.shape[2:])}")  # fmt: skip
        # Where steps are wider and there is one column only, the kernels err: there they make another one.
        stride = self.geometry[0][-1]
        is_column = stride > 1 and x.shape[-1] < self.least[-1] + stride
        x = F.pad(x, [0, stride], value=self.zero_point) if is_column else x
        arguments = self._kernel_arguments()
        output: Tensor = torch.ops.onednn.qconv_pointwise(
            x, *arguments, *self.geometry, 1.0, 0, torch.float32, "none", [], ""
        )
        return output[..., :1] if is_column else output

    def _pack(self) -> Tensor:
        steps = self.input_step, self.zero_point
        packed: Tensor = torch.ops.onednn.qconv_prepack(self.weight, self.weight_step, *steps, *self.geometry, None)
        return packed


class Int8Linear(_Int8Layer):
    """A linear layer in int8. Input (..., in_features), output (..., out_features), both float32."""

    def forward(self, input: Tensor) -> Tensor:
        x = self._quantized(input).flatten(0, -2) if input.dim() > 1 else self._quantized(input)[None]
        arguments = self._kernel_arguments()
        output: Tensor = torch.ops.onednn.qlinear_pointwise(x, *arguments, 1.0, 0, torch.float32, "none", [], "")
        return output.view(*input.shape[:-1], len(self.weight))

    def _pack(self) -> Tensor:
        packed: Tensor = torch.ops.onednn.qlinear_prepack(self.weight, None)
        return packed


def _may_pad(layer: ShiftConv1d | ShiftConv2d | ShiftConv3d) -> bool:
    """Whether the kernel is right where it pads itself.

    Outputs with nothing but padding in their window, and some others in three dimensions, oneDNN 3.12 makes from memory
    that it never wrote; now and then it ends the process.
    """
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or len(layer.stride) == 3:
        return False
    each = zip(layer.padding, layer.kernel_size, layer.dilation, strict=True)
    return all(padding == 0 or (padding < kernel and dilation == 1) for padding, kernel, dilation in each)


def _layout(x: Tensor) -> torch.memory_format:
    is_last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


def _to_integers(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers, and for each output channel the power of two that they are multiples of."""
    if not weight.isfinite().all():
        raise ValueError("weights must be finite")
    by_channel = weight.double().flatten(1)
    step = torch.where(by_channel == 0, torch.inf, lowest_bit(by_channel.abs())).amin(1)
    step = torch.where(step.isinf(), 1.0, step)
    integers = by_channel / step[:, None]
    if integers.abs().max() > MAX_WEIGHT:
        raise ValueError(f"weights must be multiples of their channel's smallest up to {MAX_WEIGHT}, "
                         f"got {integers.abs().max():.0f}")  # fmt: skip
    return integers.reshape(weight.shape), step.float()
