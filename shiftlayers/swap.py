"""Putting one layer of a network in the place of another, wherever the network holds it."""

from __future__ import annotations

from torch import nn


def replace_layer(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """`model` with `old` replaced under every name that it has; `new` itself where the model is that one layer."""
    if model is old:
        return new
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            parent, _, child = name.rpartition(".")
            owner = model.get_submodule(parent)
            setattr(owner, child, new)
            if isinstance(owner, nn.TransformerEncoderLayer):
                # Its fast path reads the weights past the layers; this is the switch that closes it.
                owner.activation_relu_or_gelu = 0
    return model
