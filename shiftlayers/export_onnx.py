"""Shift networks as ONNX, whose initialisers are the powers of two themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from shiftlayers.fold import fold


def export_onnx(model: nn.Module, path: str | Path, example_input: Tensor) -> None:
    """Writes the evaluation of `model` as ONNX with a batch of any size, one input `input` and one output `output`.

    The weights are those of `fold`. The exporter's own optimiser is off: it would multiply batch normalisation into
    the convolutions, after which the weights are no powers of two any more.

    Args:
        model: a network that `torch.export` can trace.
        path: of the file.
        example_input: one batch of inputs, (batch, ...) with at least two of them.

    Raises:
        ImportError: onnx and onnxscript, which PyTorch's exporter needs, are not installed.
        ValueError: `example_input` has fewer than two images, which the exporter would take for a constant.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"export_onnx needs {' and '.join(missing)}: pip install 'greenshift[onnx]'")
    if len(example_input) < 2:
        raise ValueError(f"example_input must have two images or more, got {len(example_input)}")
    program = torch.onnx.export(
        fold(model).eval(),
        (example_input,),
        dynamo=True,
        optimize=False,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=[{0: torch.export.Dim("batch")}],
        verbose=False,
    )
    assert program is not None
    program.save(path)
