"""One dry run of a network: which layers run, in which order, on what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Record = Callable[[str, tuple[Tensor, ...], Any], None]


def dry_run(model: nn.Module, example_input: Tensor, record: Record) -> None:
    """Runs `model` once and calls `record(name, inputs, output)` after every call of a module without children.

    The run is in evaluation mode and without gradients; the mode of every module and all buffers are as before
    afterwards.

    Args:
        model: any network.
        example_input: one batch of inputs of the network's shape, on its device.
        record: is given the first name of the module, its positional inputs and its output.
    """
    modes = {module: module.training for module in model.modules()}
    handles = [
        module.register_forward_hook(lambda _m, args, out, name=name: record(name, args, out))
        for name, module in model.named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        with torch.no_grad():
            model.eval()(example_input)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for handle in handles:
            handle.remove()
