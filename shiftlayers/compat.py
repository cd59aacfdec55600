"""Keeping latents in range as DeepShift does, after each optimizer step and not inside forward: the same numbers."""

from __future__ import annotations

from torch import nn, optim

from shiftlayers.modules import ShiftLayer
from shiftlayers.quantizers import CompatPS, CompatQ


def clamp_latents(model: nn.Module) -> None:
    """Clamps, in place, the latents of all layers with `compat="deepshift"` to the range of their exponents.

    DeepShift-Q's non-zero weights keep their sign and get a magnitude in range; DeepShift-PS's shifts are cut.
    """
    for layer in model.modules():
        if isinstance(layer, ShiftLayer) and isinstance(layer._quantizer, CompatQ | CompatPS):
            layer._quantizer.clamp(layer)


def clamp_after_step(optimizer: optim.Optimizer, model: nn.Module) -> None:
    """Clamps the latents of `model` now and after every step of `optimizer`."""
    clamp_latents(model)
    optimizer.register_step_post_hook(lambda *_: clamp_latents(model))
