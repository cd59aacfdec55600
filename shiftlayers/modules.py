"""Shift layers: PyTorch's convolutions and linear layer with power-of-two weights and fixed-point inputs."""

from __future__ import annotations

from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers import deepshift
from shiftlayers.config import MAX_EXPONENT, MIN_EXPONENT, ShiftConfig
from shiftlayers.fixed_point import round_to_fixed_point
from shiftlayers.quantizers import CompatPS, CompatQ, Quantizer, make_quantizer

_DEFAULT = ShiftConfig()


class ShiftLayer(nn.Module):
    """What every shift layer shares: its config, its quantiser, and the rounding of what goes in.

    Attributes:
        config: what the layer is made of.
        scale: power of two of the layer or of each output channel, broadcast over the weight; None for DeepShift
            without per-channel scale.
    """

    config: ShiftConfig
    scale: Tensor | None
    _quantizer: Quantizer
    # The weight of the forward that is going on, where the whole network was quantised in one pass, and that of the
    # last such forward, for parts that are computed again in backward.
    _prepared: Tensor | None = None
    _last_prepared: Tensor | None = None
    # The weight of evaluation, with the tensors that it came from and what tells that one has changed.
    _cached: tuple[list[Tensor], list[object], Tensor] | None = None
    # The dimension of the weight that counts output channels.
    _channel_dim = 0

    @classmethod
    def from_float(cls, layer: nn.Module, config: ShiftConfig) -> Self:
        """A shift layer with the shape, mode, bias and hooks of `layer`, starting from its weights.

        `layer` is left as it was; the bias is shared with it.
        """
        return cls._swapped(layer)._shift(cast(Tensor, layer.weight), config)

    @classmethod
    def from_weights(cls, layer: nn.Module, config: ShiftConfig, weight: Tensor, scale: Tensor | None) -> Self:
        """Like `from_float`, but with an effective `weight` and a `scale` that another shift layer had."""
        return cls._swapped(layer)._shift(weight, config, scale)

    @classmethod
    def _swapped(cls, layer: nn.Module) -> Self:
        """All of `layer` but its type."""
        shifted = cls.__new__(cls)
        shifted.__dict__ = {
            key: value.copy() if isinstance(value, dict) else value for key, value in vars(layer).items()
        }
        return shifted

    def effective_weight(self) -> Tensor:
        """The weight that forward computes with: zero, a signed power of two, or for APoT a sum of two.

        Rounding is stochastic only in training; evaluation is deterministic.
        """
        if self.training:
            prepared = self._last_prepared if _is_recomputing() else self._prepared
            return self._compute_weight() if prepared is None else prepared
        is_random = self.config.compat is not None and self.config.rounding != "nearest"
        if is_random or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._compute_weight()
        return self._cached_weight()

    def train(self, mode: bool = True) -> Self:
        """Switches between training and evaluation, which forgets what was kept of either."""
        self._prepared = self._last_prepared = self._cached = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles hold no weights of a forward."""
        passing = ("_prepared", "_last_prepared", "_cached")
        return {key: value for key, value in vars(self).items() if key not in passing}

    def _cached_weight(self) -> Tensor:
        """The weight of evaluation, computed again only where a latent was replaced or changed in place.

        A change in place through `.data`, which PyTorch does not count, is seen after the next `train` or `eval`.
        """
        sources = [p for p in (*self._parameters.values(), self.scale) if p is not None]
        if any(p.is_inference() for p in sources):
            return self._compute_weight()
        state = [(p._version, p.data_ptr(), p.dtype, p.device) for p in sources]
        cached = self._cached
        if cached is None or state != cached[1] or any(a is not b for a, b in zip(sources, cached[0], strict=True)):
            cached = self._cached = sources, list(state), self._compute_weight()
        return cached[2]

    def _compute_weight(self) -> Tensor:
        # DeepShift draws in evaluation as well.
        is_random = self.training or self.config.compat is not None
        rounding = self.config.rounding if is_random else "nearest"
        weight = self._quantizer.unscaled_weight(self, rounding)
        return weight if self.scale is None else (weight * self.scale).to(weight.dtype)

    def _shift(self, weight: Tensor, config: ShiftConfig, scale: Tensor | None = None) -> Self:
        """Becomes a layer of `config` whose latents represent `weight`; a scale that is not given is fitted."""
        self.config = config
        self._quantizer = make_quantizer(config)
        # DeepShift's levels are absolute; the others' begin at one and mean nothing without a scale.
        has_scale = config.per_channel_scale or not config.quantizer.startswith("deepshift")
        if has_scale and scale is None:
            scale = self._fit_scale(weight)
        self.register_buffer("scale", scale)
        self._quantizer.attach(self, weight)
        if isinstance(weight, nn.Parameter) and not weight.requires_grad:
            self._freeze_latents()
        if config.compat is not None:
            self.register_load_state_dict_post_hook(_clamp_loaded)  # type: ignore[no-untyped-call]
        return self

    def _freeze_latents(self) -> None:
        """What was not trained as a float layer is not trained as a shift layer."""
        for name, latent in self._parameters.items():
            if name != "bias" and latent is not None:
                latent.requires_grad_(False)

    def _fit_scale(self, weight: Tensor) -> Tensor:
        """Powers of two that bring the largest weight, of each channel or of all, nearest to the largest level."""
        kept = (self._channel_dim,) if self.config.per_channel_scale else ()
        others = [dim for dim in range(weight.dim()) if dim not in kept]
        largest = weight.detach().abs().amax(others, keepdim=True).clamp_min(2.0**MIN_EXPONENT)
        low, high = self.config.exponent_range
        # The smallest level must stay a normal float32 as well.
        top = self.config.levels[-1]
        # A sum of two powers is not cut at the top: only a scale that holds the largest weight represents it.
        fitted = torch.log2(largest / top)
        exponent = (fitted.ceil() if self.config.quantizer == "apot" else fitted.round()).clamp(
            MIN_EXPONENT - min(low, 0), MAX_EXPONENT - high
        )
        return torch.exp2(exponent.double()).float()

    def _fixed(self, x: Tensor) -> Tensor:
        """The input as the layer computes with it."""
        bits = self.config.activation_bits
        if bits is None:
            return x
        if self.config.compat:
            return deepshift.fixed_point(x, *bits)
        return round_to_fixed_point(x, *bits, signed=not self.config.unsigned_activations)

    def _fixed_bias(self) -> Tensor | None:
        bits, bias = self.config.activation_bits, cast(Tensor | None, self.bias)
        if bits is None or bias is None:
            return bias
        return (deepshift.fixed_point if self.config.compat else round_to_fixed_point)(bias, *bits)


class _ShiftConv(ShiftLayer):
    """Forward of the convolutions that `nn` computes by a method of one name."""

    bias: Tensor | None

    def forward(self, input: Tensor) -> Tensor:
        x, weight = self._fixed(input), self.effective_weight()
        output: Tensor = self._conv_forward(x, weight, self._fixed_bias())  # type: ignore[operator]
        return output


class ShiftConv1d(_ShiftConv, nn.Conv1d):
    """A 1-d convolution with power-of-two weights; arguments and shapes of `nn.Conv1d`, and `config`.

    Input (batch, in_channels, length), output (batch, out_channels, length').
    """

    def __init__(self, *args: Any, config: ShiftConfig = _DEFAULT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shift(self.weight, config)


class ShiftConv2d(_ShiftConv, nn.Conv2d):
    """A 2-d convolution with power-of-two weights; arguments and shapes of `nn.Conv2d`, and `config`.

    Input (batch, in_channels, height, width), output (batch, out_channels, height', width').
    """

    def __init__(self, *args: Any, config: ShiftConfig = _DEFAULT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shift(self.weight, config)


class ShiftConv3d(_ShiftConv, nn.Conv3d):
    """A 3-d convolution with power-of-two weights; arguments and shapes of `nn.Conv3d`, and `config`.

    Input (batch, in_channels, depth, height, width), output (batch, out_channels, depth', height', width').
    """

    def __init__(self, *args: Any, config: ShiftConfig = _DEFAULT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shift(self.weight, config)


class ShiftConvTranspose2d(ShiftLayer, nn.ConvTranspose2d):
    """A transposed 2-d convolution with power-of-two weights; arguments and shapes of `nn.ConvTranspose2d`.

    Input (batch, in_channels, height, width), output (batch, out_channels, height', width'). With groups, one scale
    serves the channels of equal place in every group.
    """

    _channel_dim = 1

    def __init__(self, *args: Any, config: ShiftConfig = _DEFAULT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shift(self.weight, config)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        x = self._fixed(input)
        sizes = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
        padding = self._output_padding(x, output_size, *sizes)  # type: ignore[arg-type]
        geometry = (self.stride, self.padding, padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, self.effective_weight(), self._fixed_bias(), *geometry)  # type: ignore[arg-type]


class ShiftLinear(ShiftLayer, nn.Linear):
    """A linear layer with power-of-two weights; arguments of `nn.Linear`, and `config`.

    Input (..., in_features), output (..., out_features).
    """

    def __init__(self, *args: Any, config: ShiftConfig = _DEFAULT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shift(self.weight, config)

    def forward(self, input: Tensor) -> Tensor:
        if self.config.compat is not None:
            return self._deepshift_forward(input)
        return F.linear(self._fixed(input), self.effective_weight(), self._fixed_bias())

    def _deepshift_forward(self, input: Tensor) -> Tensor:
        """As DeepShift computes: PS leaves inputs float, Q rounds them, and both leave the bias as it is."""
        if self.config.quantizer == "deepshift-ps":
            return F.linear(input, self.effective_weight(), self.bias)
        output = self._fixed(input).mm(self.effective_weight().t())
        # Added afterwards: a fused product and sum rounds differently in the last bit.
        return output if self.bias is None else output + self.bias


def _clamp_loaded(layer: nn.Module, _keys: object) -> None:
    """DeepShift saves latents as the optimizer left them and clamps them in its next forward."""
    quantizer = getattr(layer, "_quantizer", None)
    if isinstance(quantizer, CompatQ | CompatPS):
        quantizer.clamp(layer)


def _is_recomputing() -> bool:
    """Whether this forward is part of a backward pass, as `torch.utils.checkpoint` makes it."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


SHIFT_TYPES: dict[type[nn.Module], type[ShiftLayer]] = {
    nn.Conv1d: ShiftConv1d,
    nn.Conv2d: ShiftConv2d,
    nn.Conv3d: ShiftConv3d,
    nn.ConvTranspose2d: ShiftConvTranspose2d,
    nn.Linear: ShiftLinear,
}
"""The shift layer of every layer that can become one."""
