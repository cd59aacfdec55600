"""Batch normalisation whose factor is a power of two, so that it becomes a shift and a bias of the layer before it."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, fx, nn

from shiftlayers.fold import evaluated_weight
from shiftlayers.graph import trace_graph
from shiftlayers.modules import ShiftConvTranspose2d, ShiftLayer
from shiftlayers.rounding import round_to_power_of_two
from shiftlayers.swap import replace_layer

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


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
        factor = _factor(norm, var)
        offset = -mean * factor if norm.bias is None else norm.bias - mean * factor
        shape = (1, -1, *(1 for _ in range(input.dim() - 2)))
        return (x * factor.view(shape) + offset.view(shape)).to(input.dtype)


class ShiftBatchNorm1d(ShiftBatchNorm, nn.BatchNorm1d):
    """Power-of-two batch normalisation of (batch, channels) or (batch, channels, length)."""


class ShiftBatchNorm2d(ShiftBatchNorm, nn.BatchNorm2d):
    """Power-of-two batch normalisation of (batch, channels, height, width)."""


class ShiftBatchNorm3d(ShiftBatchNorm, nn.BatchNorm3d):
    """Power-of-two batch normalisation of (batch, channels, depth, height, width)."""


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


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of `model` in which batch normalisations are part of the shift layers that alone feed them.

    The factor, rounded to a signed power of two, becomes part of the layer's scale, the rest its bias. That leaves the
    outputs of `convert_batch_norm`'s layers as they were, up to the rounding of the bias to the layer's fixed point;
    with PyTorch's own, each channel's factor moves by up to sqrt(2), so the network must be trained on.
    Grouped transposed convolutions, layers with `compat` and layers that run twice are left alone.

    Args:
        model: a network that `torch.fx` can trace, with running statistics. Inputs must have a batch dimension, and
            a normalisation behind a linear layer must be over that layer's outputs: (batch, features).

    Raises:
        ValueError: the network cannot be traced, a factor takes a layer's weights out of what it can represent, or a
            bias out of the layer's fixed point.
    """
    folded = copy.deepcopy(model)
    for layer, norm in _pairs(trace_graph(folded), folded):
        folded = replace_layer(folded, layer, _merged(layer, norm))
        folded = replace_layer(folded, norm, nn.Identity().train(norm.training))
    return folded


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


def _factor(norm: nn.BatchNorm2d, var: Tensor) -> Tensor:
    inverse = torch.rsqrt(var + norm.eps)
    return round_to_power_of_two(inverse if norm.weight is None else norm.weight * inverse, -126, 127)


def _pairs(graph: fx.Graph, model: nn.Module) -> list[tuple[ShiftLayer, nn.BatchNorm2d]]:
    """Shift layers with the batch normalisation that nothing but their output feeds, and which nothing else shares."""
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    pairs = []
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        layer, norm = model.get_submodule(str(source.target)), model.get_submodule(str(node.target))
        is_once = calls[source.target] == calls[node.target] == 1
        if is_once and isinstance(norm, _BATCH_NORMS) and norm.running_var is not None and _can_merge(layer, norm):
            pairs.append((cast(ShiftLayer, layer), cast(nn.BatchNorm2d, norm)))
    return pairs


def _can_merge(layer: nn.Module, norm: _BatchNorm) -> bool:
    if not isinstance(layer, ShiftLayer) or layer.config.compat is not None:
        return False
    n_outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if n_outputs != norm.num_features:
        return False
    return not isinstance(layer, ShiftConvTranspose2d) or layer.groups == 1


def _merged(layer: ShiftLayer, norm: nn.BatchNorm2d) -> ShiftLayer:
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        factor = _factor(norm, norm.running_var)
        weight = evaluated_weight(layer)
        shape = [1] * weight.dim()
        shape[layer._channel_dim] = -1
        by_channel = factor.view(shape)
        # A channel whose factor is zero has no scale; any will do for zeros.
        scale = torch.where(by_channel == 0, 1.0, by_channel.abs())
        if layer.scale is not None:
            scale = scale * layer.scale
        config = replace(layer.config, per_channel_scale=True)
        merged = type(layer).from_weights(layer, config, weight * by_channel, scale)
        if not torch.equal(evaluated_weight(merged), weight * by_channel):
            raise ValueError(f"a {config.quantizer} layer cannot represent its weights times those of {norm}")
        bias = layer._fixed_bias()
        centred = -norm.running_mean if bias is None else bias - norm.running_mean
        offset = centred * factor
        merged.bias = nn.Parameter(offset if norm.bias is None else offset + norm.bias)
        bits = config.activation_bits
        if bits is not None and merged.bias.abs().max() > 2.0 ** (bits[0] - 1):
            raise ValueError(f"a folded bias of {merged.bias.abs().max():.3g} is out of the range of activation_bits "
                             f"{bits}, {2.0 ** (bits[0] - 1):g}")  # fmt: skip
    return merged
