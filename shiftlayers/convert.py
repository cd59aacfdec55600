"""Turning the last layers of a network into shift layers, counted in the order in which they run."""

from __future__ import annotations

from torch import Tensor, nn

from shiftlayers.config import ShiftConfig
from shiftlayers.modules import ShiftConv2d, ShiftLinear
from shiftlayers.tracing import dry_run

Shiftable = nn.Conv2d | nn.Linear


def convert_to_shift(
    model: nn.Module,
    config: ShiftConfig,
    depth: int,
    *,
    example_input: Tensor | None = None,
) -> nn.Module:
    """Converts the last `depth` convolution and linear layers of `model` in place and returns it.

    Layers that are shift layers already are kept with all they learned, so converting k and then k' > k layers
    equals a progressive conversion.

    Args:
        model: a network of `nn.Conv2d` and `nn.Linear` layers (exactly these types; subclasses are left alone).
        config: what the shift layers are made of.
        depth: how many layers, counted from the output, 0..number of layers.
        example_input: one batch of inputs, used to find the order in which layers run; without it the order
            of registration counts.

    Raises:
        ValueError: `depth` is negative or more than the network has.
    """
    names = shiftable_layers(model, example_input)
    if not 0 <= depth <= len(names):
        raise ValueError(f"depth must be 0..{len(names)}, the layers of this network, got {depth}")
    for name in names[len(names) - depth :]:
        layer = model.get_submodule(name)
        if isinstance(layer, ShiftConv2d | ShiftLinear):
            continue
        model = _replace(model, layer, _shifted(layer, config))
    return model


def shiftable_layers(model: nn.Module, example_input: Tensor | None = None) -> list[str]:
    """Names of the layers that are or can become shift layers, first run first.

    Args:
        model: the network; its mode and its buffers are as before afterwards.
        example_input: one batch of inputs of the network's shape; None takes the order of registration.
    """
    layers = {name: m for name, m in model.named_modules() if _is_shiftable(m)}
    if example_input is None:
        return list(layers)
    order: dict[str, None] = {}
    dry_run(model, example_input, lambda name, _inputs, _output: order.setdefault(name))
    return [name for name in order if name in layers]


def _is_shiftable(module: nn.Module) -> bool:
    return type(module) in (nn.Conv2d, nn.Linear, ShiftConv2d, ShiftLinear)


def _shifted(layer: nn.Module, config: ShiftConfig) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return ShiftConv2d.from_float(layer, config)
    assert isinstance(layer, nn.Linear)
    return ShiftLinear.from_float(layer, config)


def _replace(model: nn.Module, layer: nn.Module, shifted: nn.Module) -> nn.Module:
    """`model` with `layer` replaced under every name that it has; `shifted` where the model is that one layer."""
    if model is layer:
        return shifted
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is layer:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, shifted)
    return model
