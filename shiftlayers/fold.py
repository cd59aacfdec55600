"""Shift networks as plain networks of PyTorch, which need nothing of ours to run."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from shiftlayers.batch_norm import ShiftBatchNorm
from shiftlayers.fixed_point import FixedPoint, round_to_fixed_point
from shiftlayers.flat import quantize_alone
from shiftlayers.modules import SHIFT_TYPES, ShiftLayer
from shiftlayers.swap import replace_layer


def fold(model: nn.Module) -> nn.Module:
    """A copy of `model` in which every shift layer is a plain layer of PyTorch with the weights of evaluation.

    Where inputs and biases are fixed point, a `FixedPoint` module stands before the layer, in a `Sequential` of the
    two, and the bias is rounded. Power-of-two batch normalisations become a factor and an offset.

    Args:
        model: any network; it is left as it was.

    Raises:
        ValueError: a layer computes as DeepShift does (`compat`), which no plain layer can.
    """
    folded = copy.deepcopy(model)
    for name, layer in list(folded.named_modules()):
        if isinstance(layer, ShiftLayer):
            if layer.config.compat is not None:
                raise ValueError(f"layer {name!r} has compat={layer.config.compat!r}, which no plain layer computes")
            folded = replace_layer(folded, layer, _fixed_point_layer(layer))
        elif isinstance(layer, ShiftBatchNorm):
            folded = replace_layer(folded, layer, layer.evaluated().train(layer.training))
    quantize_alone(folded)
    return folded


def plain_layer(layer: ShiftLayer) -> nn.Module:
    """The plain layer with the weights of evaluation, the bias, the mode and the hooks of `layer`."""
    kind = next(plain for plain, shift in SHIFT_TYPES.items() if type(layer) is shift)
    plain = kind.__new__(kind)
    ours = ("config", "_quantizer")
    kept = {key: value for key, value in layer.__getstate__().items() if key not in ours}
    plain.__dict__ = {key: value.copy() if isinstance(value, dict) else value for key, value in kept.items()}
    plain._parameters = {"weight": nn.Parameter(evaluated_weight(layer)), "bias": layer._parameters["bias"]}
    plain._buffers = {}
    return plain


def evaluated_weight(layer: ShiftLayer) -> Tensor:
    """A copy of the weight that `layer` computes with in evaluation, in the shape of the plain layer's weight."""
    was_training = layer.training
    with torch.no_grad():
        weight = layer.eval().effective_weight().clone()
    layer.train(was_training)
    return weight


def _fixed_point_layer(layer: ShiftLayer) -> nn.Module:
    """The plain layer behind the rounding of its inputs, where `layer` rounds them."""
    plain, bits = plain_layer(layer), layer.config.activation_bits
    if bits is None:
        return plain
    if layer.bias is not None:
        plain.bias = nn.Parameter(round_to_fixed_point(cast(Tensor, layer.bias).detach(), *bits))
    signed = not layer.config.unsigned_activations
    return nn.Sequential(FixedPoint(*bits, signed=signed), plain).train(layer.training)
