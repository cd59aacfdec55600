"""What the layers of a trained network have become, as counts small enough to keep with every result."""

from __future__ import annotations

import torch
from torch import nn

from shiftlayers import LayerWeights, weights_report
from worker.families import Int8Layer
from worker.schema import LayerSummary

_INT8_BITS = 8


def summarize_layers(model: nn.Module) -> tuple[LayerSummary, ...]:
    """The layers of `model` with the weights that evaluation computes with, those of 8 bits rounded as well."""
    with torch.no_grad():
        found = [_rounded(model.get_submodule(layer.name), layer) for layer in weights_report(model)]
    return tuple(LayerSummary.model_validate(vars(layer)) for layer in found)


def _rounded(module: nn.Module, layer: LayerWeights) -> LayerWeights:
    if not isinstance(module, Int8Layer):
        return layer
    return LayerWeights.of(layer.name, module.rounded_weight(), weight_bits=_INT8_BITS)
