"""Turning some layers of a network into shift layers: which ones, and in which order."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from shiftlayers.config import ShiftConfig
from shiftlayers.flat import quantize_together
from shiftlayers.graph import non_negative_inputs, trace_graph
from shiftlayers.modules import SHIFT_TYPES, ShiftLayer
from shiftlayers.swap import replace_layer
from shiftlayers.tracing import LayerTrace, trace

Order = Literal["last-first", "first-first", "macs"]
Select = Callable[[str, nn.Module], bool]
_KNOWN = (*SHIFT_TYPES, *SHIFT_TYPES.values())


def convert_to_shift(
    model: nn.Module,
    config: ShiftConfig,
    depth: int | None = None,
    *,
    order: Order = "last-first",
    select: Select | None = None,
    linear: bool = True,
    first: bool = True,
    last: bool = True,
    example_input: Tensor | None = None,
) -> nn.Module:
    """Converts `depth` convolution and linear layers of `model` in place and returns it.

    Layers that are shift layers already are kept with all they learned, so converting k and then k' > k layers
    equals a progressive conversion.

    Args:
        model: a network of `nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d`, `nn.ConvTranspose2d` and `nn.Linear` layers, exactly
            these types: subclasses, such as the projections inside `nn.MultiheadAttention`, are left alone, because
            their owners read the weight past the layer.
        config: what the shift layers are made of; `unsigned_activations` goes to those alone whose inputs come from a
            ReLU in a network that `torch.fx` can trace.
        depth: how many layers, 0..number of layers that may be converted; None is all of them.
        order: which come first: the last to run (as DeepShift intends), the first to run, or those with the most
            multiply-accumulates, which needs `example_input`.
        select: whether a layer, given its name and itself, may be converted.
        linear: whether linear layers may be.
        first: whether the first layer to run may be.
        last: whether the last layer to run may be.
        example_input: one batch of inputs, used to find the order in which layers run; without it, or where the
            network does not run on it (which warns), the order of registration counts. With it, layers whose owner
            reads the weight past them, such as those in torchvision's Swin attention, are seen never to run and left
            alone; without it, `select` has to leave them out.

    Raises:
        ValueError: `depth` is negative or more than there are, or `order` is unknown or needs `example_input`.
    """
    # DeepShift goes by registration.
    traces = _trace(model, None if config.compat else example_input)
    allowed = [
        t.name
        for position, t in enumerate(traces)
        if (linear or not isinstance(t.module, nn.Linear))
        and (first or position > 0)
        and (last or position < len(traces) - 1)
        and (select is None or select(t.name, t.module))
    ]
    ranked = _ranked([t for t in traces if t.name in allowed], order)
    n = len(ranked) if depth is None else depth
    if not 0 <= n <= len(ranked):
        raise ValueError(f"depth must be 0..{len(ranked)}, the layers of this network that may be converted, got {n}")
    after_relu = _after_relu(model) if config.unsigned_activations else set()
    signed = replace(config, unsigned_activations=False)
    for chosen in ranked[:n]:
        if not isinstance(chosen.module, ShiftLayer):
            made_of = config if chosen.name in after_relu else signed
            shifted = SHIFT_TYPES[type(chosen.module)].from_float(chosen.module, made_of)
            model = replace_layer(model, chosen.module, shifted)
    quantize_together(model)
    return model


def shiftable_layers(model: nn.Module, example_input: Tensor | None = None) -> list[str]:
    """Names of the layers that are or can become shift layers, first run first.

    Args:
        model: the network; its mode and its buffers are as before afterwards.
        example_input: one batch of inputs of the network's shape; None takes the order of registration.
    """
    return [t.name for t in _trace(model, example_input)]


def _after_relu(model: nn.Module) -> set[str]:
    try:
        return non_negative_inputs(trace_graph(model), model)
    except ValueError as error:
        warnings.warn(f"{error}: all activations stay signed", stacklevel=3)
        return set()


def _trace(model: nn.Module, example_input: Tensor | None) -> list[LayerTrace]:
    """The shiftable layers in the order in which they run, or are registered."""
    registered = [LayerTrace(name, m, 0, 0) for name, m in model.named_modules() if type(m) in _KNOWN]
    if example_input is None:
        return registered
    try:
        traces = trace(model, example_input)
    except Exception as error:  # noqa: BLE001 - a network of the user's own may raise anything
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"the network does not run on example_input ({reason}): layers in order of registration",
                      stacklevel=3)  # fmt: skip
        return registered
    return [t for t in traces if type(t.module) in _KNOWN]


def _ranked(traces: list[LayerTrace], order: Order) -> list[LayerTrace]:
    match order:
        case "first-first":
            return traces
        case "last-first":
            return traces[::-1]
        case "macs":
            if traces and not any(t.macs for t in traces):
                raise ValueError("order 'macs' needs an example_input that the network runs on")
            return sorted(traces, key=lambda t: -t.macs)
        case _:
            raise ValueError(f"order must be last-first, first-first or macs, got {order!r}")
