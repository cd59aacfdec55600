"""Batch normalisation whose factor is a power of two, so that it becomes a shift and a bias of the layer before it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from shiftlayers.rounding import round_to_power_of_two
from shiftlayers.swap import replace_layer


class ShiftBatchNorm(nn.Module):
    """What the power-of-two batch normalisations share: (x - mean) * 2**round(log2(gamma / sqrt(var + eps))) + beta.

    Sign and zero of gamma are kept; the gradient passes the rounding unchanged. Statistics, arguments and state are
    those of PyTorch's (Ioffe and Szegedy, arXiv 1502.03167); the rounded factor is that of shift-based batch
    normalisation (Hubara et al., arXiv 1602.02830, algorithm 3).
    """

    def forward(self, input: Tensor) -> Tensor:
        norm = cast(nn.BatchNorm2d, self)
        norm._check_input_dim(input)
        x = input.float() if input.dtype.itemsize < 4 else input
        mean, var = _statistics(norm, x)
        factor = power_of_two_factor(norm, var)
        offset = -mean * factor if norm.bias is None else norm.bias - mean * factor
        return _affine(x, factor, offset).to(input.dtype)

    def evaluated(self) -> nn.Module:
        """What this is in evaluation, as a module with no statistics; itself where it keeps none."""
        norm = cast(nn.BatchNorm2d, self)
        if norm.running_mean is None or norm.running_var is None:
            return self
        with torch.no_grad():
            factor = power_of_two_factor(norm, norm.running_var)
            offset = -norm.running_mean * factor
            return ChannelAffine(factor, offset if norm.bias is None else norm.bias + offset)


class ShiftBatchNorm1d(ShiftBatchNorm, nn.BatchNorm1d):
    """Power-of-two batch normalisation of (batch, channels) or (batch, channels, length)."""


class ShiftBatchNorm2d(ShiftBatchNorm, nn.BatchNorm2d):
    """Power-of-two batch normalisation of (batch, channels, height, width)."""


class ShiftBatchNorm3d(ShiftBatchNorm, nn.BatchNorm3d):
    """Power-of-two batch normalisation of (batch, channels, depth, height, width)."""


class ChannelAffine(nn.Module):
    """x * factor + offset for each channel. Input and output (batch, channels, ...).

    Args:
        factor: (channels,), powers of two.
        offset: (channels,).
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, factor: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor.detach().clone())
        self.register_buffer("offset", offset.detach().clone())

    def forward(self, input: Tensor) -> Tensor:
        x = input.float() if input.dtype.itemsize < 4 else input
        return _affine(x, self.factor, self.offset).to(input.dtype)


_SHIFTED: dict[type[nn.Module], type[ShiftBatchNorm]] = {
    nn.BatchNorm1d: ShiftBatchNorm1d,
    nn.BatchNorm2d: ShiftBatchNorm2d,
    nn.BatchNorm3d: ShiftBatchNorm3d,
}


def convert_batch_norm(model: nn.Module) -> nn.Module:
    """Gives every batch normalisation of `model` a power of two as its factor, in place, and returns the model.

    Train (on) afterwards: each channel's factor moves by up to sqrt(2). What is trained so is folded without change.

    Args:
        model: any network; parameters and statistics are kept.
    """
    for norm in list(model.modules()):
        if type(norm) in _SHIFTED:
            shifted = _SHIFTED[type(norm)].__new__(_SHIFTED[type(norm)])
            shifted.__dict__ = {k: v.copy() if isinstance(v, dict) else v for k, v in vars(norm).items()}
            model = replace_layer(model, norm, shifted)
    return model


def _statistics(norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel to normalise with; in training the running ones follow."""
    if x.shape[1] != norm.num_features:
        raise ValueError(f"input must have {norm.num_features} channels, got the shape {tuple(x.shape)}")
    if not norm.training and norm.running_mean is not None and norm.running_var is not None:
        return norm.running_mean, norm.running_var
    n = x.numel() // x.shape[1]
    if n < 2:
        raise ValueError(f"batch normalisation in training needs more than one value a channel, got {tuple(x.shape)}")
    var, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
    if norm.training and norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            share: float | Tensor | None = norm.momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
                share = 1 / norm.num_batches_tracked if share is None else share
            assert share is not None
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
            norm.running_var.lerp_((var * (n / (n - 1))).to(norm.running_var.dtype), share)
    return mean, var


def _affine(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    shape = (1, -1, *(1 for _ in range(x.dim() - 2)))
    return x * factor.view(shape) + offset.view(shape)


def power_of_two_factor(norm: nn.BatchNorm2d, var: Tensor) -> Tensor:
    """The signed power of two, or zero, that each channel is multiplied by at the variance `var`: (channels,)."""
    inverse = torch.rsqrt(var + norm.eps)
    return round_to_power_of_two(inverse if norm.weight is None else norm.weight * inverse, -126, 127)
