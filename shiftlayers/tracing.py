"""One dry run of a network: which layers run, in which order, and how much each computes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerTrace:
    """What one module without children did in a dry run, over all of its calls.

    Attributes:
        name: the first name of the module in the network.
        module: the module.
        n_inputs: values read, the batch included.
        n_outputs: values written, the batch included.
    """

    name: str
    module: nn.Module
    n_inputs: int
    n_outputs: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a convolution or linear layer; padding counts as if it were data."""
        layer = self.module
        if isinstance(layer, nn.ConvTranspose2d):
            return self.n_inputs * layer.out_channels // layer.groups * math.prod(layer.kernel_size)
        return self.n_outputs * fan_in(layer)


def fan_in(layer: nn.Module) -> int:
    """Weights that one output value of a convolution or linear layer sums over."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    raise TypeError(f"fan_in needs a convolution or linear layer, got {type(layer).__name__}")


def trace(model: nn.Module, example_input: Tensor) -> list[LayerTrace]:
    """The modules without children that one run of `model` calls, in the order of their first calls.

    The run is in evaluation mode and without gradients; the mode of every module and all buffers are as before
    afterwards.

    Args:
        model: any network.
        example_input: one batch of inputs of the network's shape, on its device.
    """
    counts: dict[str, tuple[int, int]] = {}
    leaves = {name: m for name, m in model.named_modules() if not any(True for _ in m.children())}

    def record(name: str, inputs: Iterable[Any], output: Any) -> None:
        n_inputs, n_outputs = counts.get(name, (0, 0))
        counts[name] = n_inputs + _n_values(*inputs), n_outputs + _n_values(output)

    handles = [
        leaf.register_forward_hook(
            lambda _m, args, named, output, name=name: record(name, (*args, *named.values()), output), with_kwargs=True
        )
        for name, leaf in leaves.items()
    ]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(example_input)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for handle in handles:
            handle.remove()
    return [LayerTrace(name, leaves[name], *counted) for name, counted in counts.items()]


def _n_values(*values: Any) -> int:
    return sum(value.numel() for value in values if isinstance(value, Tensor))
