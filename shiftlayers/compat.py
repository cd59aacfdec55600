"""Keeping latents in range as DeepShift does, after each optimizer step and not inside forward: the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn, optim

from shiftlayers.modules import ShiftLayer


def clamp_latents(model: nn.Module) -> None:
    """Clamps, in place, the latents of all layers with `compat="deepshift"` to the range of their exponents.

    DeepShift-Q's non-zero weights keep their sign and get a magnitude in range; DeepShift-PS's shifts are cut.
    """
    with torch.no_grad():
        for layer in model.modules():
            if not isinstance(layer, ShiftLayer) or layer.config.compat is None:
                continue
            low, high = layer.config.exponent_range
            if layer.config.quantizer == "deepshift-q":
                assert isinstance(layer.weight, Tensor)
                clamped = layer.weight.abs().clamp(2.0**low, 2.0**high)
                layer.weight.copy_(clamped * torch.sign(layer.weight))
            else:
                assert isinstance(layer.shift, Tensor)
                layer.shift.clamp_(low, high)


def clamp_after_step(optimizer: optim.Optimizer, model: nn.Module) -> None:
    """Clamps the latents of `model` now and after every step of `optimizer`."""
    clamp_latents(model)
    optimizer.register_step_post_hook(lambda *_: clamp_latents(model))
