"""Quantisers: which latent parameters a layer learns, and how its effective weight follows from them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from shiftlayers.config import RoundingName, ShiftConfig
from shiftlayers.rounding import compose_power_of_two, round_to_power_of_two


class Quantizer(Protocol):
    """How one layer stores and rounds its weight; stateless, so that every layer may share one."""

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        """Gives `layer` the latent parameters that represent the float `weight` best."""

    def effective_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        """The power-of-two weight that `layer` computes with, in the shape of its float weight."""


class DeepShiftQ:
    """A float latent `weight`, rounded to the nearest power of two (DeepShift-Q).

    The latent is never changed in forward: at 2 and 3 bits, where nearly all weights are clamped, a latent
    rewritten by its clamp could never change its sign.
    """

    def __init__(self, config: ShiftConfig) -> None:
        self._low, self._high = config.exponent_range

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        layer.register_parameter("weight", nn.Parameter(weight.detach().clone()))

    def effective_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        assert isinstance(layer.weight, Tensor)
        return round_to_power_of_two(layer.weight, self._low, self._high, rounding)


class DeepShiftPS:
    """Two latents `shift` and `sign`; the weight is sign * 2**shift, or zero where |sign| <= 0.5 (DeepShift-PS).

    They start from the rounded float weight, as DeepShift's own CIFAR-10 recipe does.
    """

    def __init__(self, config: ShiftConfig) -> None:
        self._low, self._high = config.exponent_range

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        magnitude = weight.detach().abs().clamp(2.0**self._low, 2.0**self._high)
        layer.register_parameter("weight", None)
        layer.register_parameter("shift", nn.Parameter(torch.log2(magnitude)))
        layer.register_parameter("sign", nn.Parameter(torch.sign(weight.detach())))

    def effective_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        assert isinstance(layer.shift, Tensor) and isinstance(layer.sign, Tensor)
        return compose_power_of_two(layer.shift, layer.sign, self._low, self._high, rounding)


def make_quantizer(config: ShiftConfig) -> Quantizer:
    """The quantiser that `config` names."""
    return DeepShiftQ(config) if config.quantizer == "deepshift-q" else DeepShiftPS(config)
