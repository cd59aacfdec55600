"""Quantisers: which latent parameters a layer learns, and how its effective weight follows from them."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from shiftlayers import deepshift
from shiftlayers.config import RoundingName, ShiftConfig
from shiftlayers.rounding import compose_power_of_two, round_to_levels, round_to_power_of_two

# Standard deviation of DenseShift's latents at the start: so small that few steps change any choice.
_LOW_VARIANCE = 1e-3


class Quantizer(Protocol):
    """How one layer stores and rounds its weight; stateless, so that every layer may share one.

    A layer's `scale`, where it has one, is a power of two, or one for each output channel, broadcast over the weight.
    """

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        """Gives `layer`, whose scale is set, the latent parameters that represent the float `weight` best."""

    def unscaled_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        """The rounded weight of `layer` before its scale, in the shape of its float weight."""


class DeepShiftQ:
    """A float latent `weight`, rounded to the nearest power of two (DeepShift-Q).

    The latent is never changed in forward: at 2 and 3 bits, where nearly all weights are clamped, a latent
    rewritten by its clamp could never change its sign.
    """

    def __init__(self, config: ShiftConfig) -> None:
        self._low, self._high = config.exponent_range

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        layer.register_parameter("weight", nn.Parameter(weight.detach().clone()))

    def unscaled_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        return round_to_power_of_two(_unscaled(layer, _tensor(layer, "weight")), self._low, self._high, rounding)


class AdditivePowers:
    """A float latent `weight`, rounded to the nearest sum of two powers of two (APoT).

    The latent is cut to the range of the levels in value but not in gradient.
    """

    def __init__(self, config: ShiftConfig) -> None:
        self._levels = config.levels

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        layer.register_parameter("weight", nn.Parameter(weight.detach().clone()))

    def unscaled_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        return round_to_levels(_unscaled(layer, _tensor(layer, "weight")), self._levels, rounding)


class DeepShiftPS:
    """Two latents `shift` and `sign`; the weight is sign * 2**shift, or zero where |sign| <= 0.5 (DeepShift-PS).

    They start from the float weight: its sign, and the logarithm of its magnitude.
    """

    def __init__(self, config: ShiftConfig) -> None:
        self._low, self._high = config.exponent_range

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        magnitude = _unscaled(layer, weight.detach()).abs().clamp(2.0**self._low, 2.0**self._high)
        _no_weight(layer)
        layer.register_parameter("shift", nn.Parameter(torch.log2(magnitude)))
        layer.register_parameter("sign", nn.Parameter(torch.sign(weight.detach())))

    def unscaled_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        shift, sign = _tensor(layer, "shift"), _tensor(layer, "sign")
        return compose_power_of_two(shift, sign, self._low, self._high, rounding)


class SteppedExponents:
    """Latents whose signs choose: `sign`, the steps of the exponent, and for S3 whether the weight is there at all.

    The exponent of n steps t is e_n with e_0 = 0 and e_i = (e_(i-1) + 1) * H(t_i), H the unit step. S3 computes
    sgn(sign) * H(sparse) * 2**e with straight-through gradients. DenseShift has no `sparse`, and its gradient goes
    through sgn(sign) * sqrt(e + 1) in place of the power (Li et al., NeurIPS 2021 and ICCV 2023).
    """

    def __init__(self, config: ShiftConfig) -> None:
        self._is_sparse = config.quantizer == "s3"
        self._n_steps = config.exponent_range[1]

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        """Every latent gets the sign that its choice needs, and the size from which this method learns best."""
        w = _unscaled(layer, weight.detach())
        n_out = w.shape[0] * math.prod(w.shape[2:])
        size = math.sqrt(2 / n_out) if self._is_sparse else _LOW_VARIANCE
        magnitude = w.abs().clamp_min(torch.finfo(torch.float32).tiny)
        exponent = torch.log2(magnitude).round().clamp(0, self._n_steps)
        # e comes out where exactly the last e steps are taken.
        ranks = torch.arange(self._n_steps, 0, -1, device=w.device).view(-1, *(1 for _ in w.shape))
        steps = torch.where(ranks <= exponent, size, -size)
        _no_weight(layer)
        layer.register_parameter("sign", nn.Parameter(torch.where(w < 0, -size, size).to(w.dtype)))
        if self._n_steps:
            layer.register_parameter("steps", nn.Parameter(steps.to(w.dtype)))
        if self._is_sparse:
            layer.register_parameter("sparse", nn.Parameter(torch.where(w.abs() >= 0.5, size, -size).to(w.dtype)))

    def unscaled_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        sign: Tensor = _Sign.apply(_tensor(layer, "sign"))
        exponent = torch.zeros_like(sign)
        for step in _tensor(layer, "steps") if self._n_steps else ():
            taken: Tensor = _Step.apply(step)
            exponent = (exponent + 1) * taken
        power: Tensor = _Power.apply(exponent)
        if not self._is_sparse:
            weight: Tensor = _Swap.apply(sign * torch.sqrt(exponent + 1), (sign * power).detach())
        else:
            present: Tensor = _Step.apply(_tensor(layer, "sparse"))
            weight = sign * present * power
        return weight.to(_tensor(layer, "sign").dtype)


class CompatQ(DeepShiftQ):
    """DeepShift-Q as its own code computes it, for latents that are kept in range."""

    def __init__(self, config: ShiftConfig) -> None:
        super().__init__(config)
        self._activation_bits = config.activation_bits

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        """As its conversion does: the weight as it is, the bias rounded down to fixed point for good."""
        super().attach(layer, weight)
        bias = layer._parameters["bias"]
        if bias is not None and self._activation_bits is not None:
            rounded = deepshift.fixed_point(bias.detach(), *self._activation_bits)
            layer.register_parameter("bias", nn.Parameter(rounded, requires_grad=bias.requires_grad))

    def clamp(self, layer: nn.Module) -> None:
        """Gives the latents, in place, a magnitude in range; zeros and signs stay."""
        with torch.no_grad():
            weight = _tensor(layer, "weight")
            weight.copy_(weight.abs().clamp(2.0**self._low, 2.0**self._high) * torch.sign(weight))

    def unscaled_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        return deepshift.weight_q(_tensor(layer, "weight"), rounding)


class CompatPS(DeepShiftPS):
    """DeepShift-PS as its own code computes it, for latents that are kept in range."""

    def attach(self, layer: nn.Module, weight: Tensor) -> None:
        """As its conversion does with `convert_weights=True`: the exponents start as whole numbers."""
        super().attach(layer, weight)
        exponent = torch.round(torch.log(weight.detach().abs()) / math.log(2))
        layer.register_parameter("shift", nn.Parameter(exponent.clamp(self._low, self._high)))

    def clamp(self, layer: nn.Module) -> None:
        """Cuts the exponents, in place, to their range."""
        with torch.no_grad():
            _tensor(layer, "shift").clamp_(self._low, self._high)

    def unscaled_weight(self, layer: nn.Module, rounding: RoundingName) -> Tensor:
        return deepshift.weight_ps(_tensor(layer, "shift"), _tensor(layer, "sign"), rounding)


def make_quantizer(config: ShiftConfig) -> Quantizer:
    """The quantiser that `config` names."""
    if config.compat is not None:
        return CompatQ(config) if config.quantizer == "deepshift-q" else CompatPS(config)
    match config.quantizer:
        case "deepshift-q":
            return DeepShiftQ(config)
        case "deepshift-ps":
            return DeepShiftPS(config)
        case "apot":
            return AdditivePowers(config)
        case "s3" | "denseshift":
            return SteppedExponents(config)


class _Sign(torch.autograd.Function):
    """+1 or -1, zero counting as positive; straight-through."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return torch.where(x < 0, -1.0, 1.0)

    @staticmethod
    def backward(_ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


class _Step(torch.autograd.Function):
    """1 where positive, else 0; straight-through."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(_ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


class _Power(torch.autograd.Function):
    """2**e of whole exponents, exact because it is composed from bits."""

    @staticmethod
    def forward(ctx: Any, exponent: Tensor) -> Tensor:
        power = ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)
        ctx.save_for_backward(power)
        return power

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        (power,) = ctx.saved_tensors
        scaled: Tensor = grad[0] * power * math.log(2)
        return scaled


class _Swap(torch.autograd.Function):
    """The value of the second argument with the gradient of the first."""

    @staticmethod
    def forward(_ctx: Any, _surrogate: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(_ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return grad[0], None


def _tensor(layer: nn.Module, name: str) -> Tensor:
    tensor = getattr(layer, name)
    assert isinstance(tensor, Tensor)
    return tensor


def _unscaled(layer: nn.Module, weight: Tensor) -> Tensor:
    """`weight` divided by the layer's scale, exactly."""
    return weight if layer.scale is None else (weight / _tensor(layer, "scale")).to(weight.dtype)


def _no_weight(layer: nn.Module) -> None:
    """Leaves the name `weight` empty, so that nothing computes with a stale one."""
    layer.register_parameter("weight", None)
