"""Folding batch normalisation into the shift layer before it, as a shift and a bias."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from shiftlayers.batch_norm import power_of_two_factor
from shiftlayers.fold import evaluated_weight
from shiftlayers.graph import trace_graph
from shiftlayers.modules import ShiftConvTranspose2d, ShiftLayer
from shiftlayers.swap import replace_layer

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def fold_batch_norm(model: nn.Module, example_input: Tensor | None = None) -> nn.Module:
    """A copy of `model` in which batch normalisations are part of the shift layers that alone feed them.

    The factor, rounded to a signed power of two, becomes part of the layer's scale, the rest its bias. That leaves the
    outputs of `convert_batch_norm`'s layers as they were, up to the rounding of the bias to the layer's fixed point;
    with PyTorch's own, each channel's factor moves by up to sqrt(2), so the network must be trained on.
    Grouped transposed convolutions, layers with `compat` and layers that run twice are left alone.

    Args:
        model: a network that `torch.fx` can trace, with running statistics; its inputs have a batch dimension.
        example_input: one batch of inputs. Without it normalisations behind linear layers are left alone, because
            nothing tells whether they are over that layer's outputs.

    Raises:
        ValueError: the network cannot be traced, a factor takes a layer's weights out of what it can represent, or a
            bias out of the layer's fixed point.
    """
    folded = copy.deepcopy(model)
    graph = trace_graph(folded)
    if example_input is not None:
        with torch.no_grad():
            ShapeProp(fx.GraphModule(copy.deepcopy(model).eval(), graph)).propagate(example_input)
    for layer, norm in _pairs(graph, folded):
        folded = replace_layer(folded, layer, _merged(layer, norm))
        folded = replace_layer(folded, norm, nn.Identity().train(norm.training))
    return folded


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
        if isinstance(layer, nn.Linear) and ("tensor_meta" not in node.meta or len(node.meta["tensor_meta"].shape) > 2):
            continue
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
        factor = power_of_two_factor(norm, norm.running_var)
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
                             f"{bits}: {2.0 ** (bits[0] - 1):g} at most")  # fmt: skip
    return merged
