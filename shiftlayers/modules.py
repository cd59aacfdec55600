"""Shift layers: `nn.Conv2d` and `nn.Linear` that compute with power-of-two weights and fixed-point inputs."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers.config import ShiftConfig
from shiftlayers.quantizers import Quantizer, make_quantizer
from shiftlayers.rounding import round_to_fixed_point


class _Shifted(nn.Module):
    """What every shift layer shares: its config, its quantiser, and the rounding of what goes in."""

    config: ShiftConfig
    _quantizer: Quantizer

    def _shift(self, weight: Tensor, config: ShiftConfig) -> None:
        self.config = config
        self._quantizer = make_quantizer(config)
        self._quantizer.attach(self, weight)

    def effective_weight(self) -> Tensor:
        """The weight that forward computes with: every entry is zero or a signed power of two.

        Rounding is stochastic only in training; evaluation is deterministic.
        """
        rounding = self.config.rounding if self.training else "nearest"
        return self._quantizer.effective_weight(self, rounding)

    def _fixed(self, x: Tensor | None) -> Tensor | None:
        bits = self.config.activation_bits
        return x if x is None or bits is None else round_to_fixed_point(x, *bits)


class ShiftConv2d(_Shifted, nn.Conv2d):
    """A 2-d convolution with power-of-two weights; same arguments and shapes as the `nn.Conv2d` it came from.

    Input (batch, in_channels, height, width), output (batch, out_channels, height', width').
    """

    def forward(self, input: Tensor) -> Tensor:
        x = cast(Tensor, self._fixed(input))
        output: Tensor = self._conv_forward(x, self.effective_weight(), self._fixed(self.bias))
        return output

    @classmethod
    def from_float(cls, conv: nn.Conv2d, config: ShiftConfig) -> ShiftConv2d:
        """A shift layer that starts from the weights of `conv`, which is left as it was; bias is shared."""
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        layer._shift(conv.weight, config)
        layer.bias = conv.bias
        return layer.train(conv.training)


class ShiftLinear(_Shifted, nn.Linear):
    """A linear layer with power-of-two weights; input (..., in_features), output (..., out_features)."""

    def forward(self, input: Tensor) -> Tensor:
        x = cast(Tensor, self._fixed(input))
        return F.linear(x, self.effective_weight(), self._fixed(self.bias))

    @classmethod
    def from_float(cls, linear: nn.Linear, config: ShiftConfig) -> ShiftLinear:
        """A shift layer that starts from the weights of `linear`, which is left as it was; bias is shared."""
        layer = cls(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        layer._shift(linear.weight, config)
        layer.bias = linear.bias
        return layer.train(linear.training)
