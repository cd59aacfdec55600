"""All weights of a network quantised in one pass a step, so that small layers do not drown in kernel launches."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, fx, nn

from shiftlayers.config import RoundingName, ShiftConfig
from shiftlayers.modules import ShiftLayer
from shiftlayers.rounding import compose_power_of_two, round_to_power_of_two

_Key = tuple[str, int, int, RoundingName, torch.dtype, torch.device]


def quantize_together(model: nn.Module) -> None:
    """Makes `model` round the weights of all its DeepShift layers in one pass before each forward in training.

    Values and gradients are those of the layers one by one; only the number of kernels changes. Layers with a scale
    and other quantisers go on alone, as does everything inside `torch.compile` and `torch.export`. Calling it again
    changes nothing.
    """
    if _prepare not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_prepare)
        model.register_forward_hook(_release, always_call=True)


def quantize_alone(model: nn.Module) -> None:
    """Takes back `quantize_together`, for `model` and all its parts."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook in (_prepare, _release)]:
                del hooks[key]
        for key in [key for key in module._forward_hooks_always_called if key not in module._forward_hooks]:
            del module._forward_hooks_always_called[key]


def _prepare(model: nn.Module, _inputs: tuple[Any, ...]) -> None:
    if not model.training or torch.compiler.is_compiling():
        return
    groups: dict[_Key, list[ShiftLayer]] = defaultdict(list)
    for layer in model.modules():
        if isinstance(layer, ShiftLayer) and _is_flat(layer.config):
            rounding = layer.config.rounding if layer.training else "nearest"
            latent = next(layer.parameters())
            key = layer.config.quantizer, *layer.config.exponent_range, rounding, latent.dtype, latent.device
            groups[key].append(layer)
    for (quantizer, *rule, _dtype, _device), layers in groups.items():
        names, together = _TOGETHER[quantizer]
        latents = [getattr(layer, name) for name in names for layer in layers]
        if isinstance(latents[0], fx.Proxy):
            # While torch.fx traces a network around this one.
            return
        weights = together.apply(*rule, *latents)
        for layer, weight in zip(layers, weights, strict=True):
            layer._prepared = layer._last_prepared = weight


def _is_flat(config: ShiftConfig) -> bool:
    return config.quantizer in _TOGETHER and not config.per_channel_scale and config.compat is None


def _release(model: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
    for layer in model.modules():
        if isinstance(layer, ShiftLayer):
            layer._prepared = None


class _FlatPowerOfTwo(torch.autograd.Function):
    """`round_to_power_of_two` of many weights at once."""

    @staticmethod
    def forward(ctx: Any, low: int, high: int, rounding: RoundingName, *weights: Tensor) -> tuple[Tensor, ...]:
        # A layer that does not run must get no gradient, not one of zeros, which would decay it.
        ctx.set_materialize_grads(False)
        return _split(round_to_power_of_two(_join(weights), low, high, rounding), weights)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, None, None, *grads


class _FlatCompose(torch.autograd.Function):
    """`compose_power_of_two` of many latents at once: all shifts, then all signs."""

    @staticmethod
    def forward(ctx: Any, low: int, high: int, rounding: RoundingName, *latents: Tensor) -> tuple[Tensor, ...]:
        shifts, signs = latents[: len(latents) // 2], latents[len(latents) // 2 :]
        weight = compose_power_of_two(_join(shifts), _join(signs), low, high, rounding)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight)
        ctx.shapes = [shift.shape for shift in shifts]
        return _split(weight, shifts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        known = tuple(
            torch.zeros(shape, dtype=weight.dtype, device=weight.device) if grad is None else grad
            for grad, shape in zip(grads, ctx.shapes, strict=True)
        )
        scaled = _split((_join(known) * weight).mul_(math.log(2)), known)
        to_shifts = (None if grad is None else part for grad, part in zip(grads, scaled, strict=True))
        return None, None, None, *to_shifts, *grads


# By quantiser, the latents of a layer and what makes weights of them.
_TOGETHER: dict[str, tuple[tuple[str, ...], type[torch.autograd.Function]]] = {
    "deepshift-q": (("weight",), _FlatPowerOfTwo),
    "deepshift-ps": (("shift", "sign"), _FlatCompose),
}


def _join(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def _split(flat: Tensor, like: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    parts = flat.split([t.numel() for t in like])
    return tuple(part.view_as(t) for part, t in zip(parts, like, strict=True))
