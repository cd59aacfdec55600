from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from shiftlayers import ShiftConfig, convert_to_shift, export_onnx
from shiftlayers.config import QUANTIZER_NAMES

SHAPE = (3, 8, 8)


def network() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 5, 2), nn.Flatten(),
        nn.Linear(5 * 49, 4),
    )  # fmt: skip
    model.train()(torch.randn(16, *SHAPE) * 3)
    return model


def exported(model: nn.Module, folder: Path) -> Path:
    export_onnx(model, folder / "model.onnx", torch.randn(2, *SHAPE))
    return folder / "model.onnx"


def run(path: Path, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path)
    (output,) = session.run(["output"], {"input": x.numpy()})
    return torch.from_numpy(output)


@pytest.mark.parametrize("config", [ShiftConfig(q) for q in QUANTIZER_NAMES], ids=QUANTIZER_NAMES)
def test_onnxruntime_computes_what_the_network_computes(config, tmp_path):
    model = convert_to_shift(network(), config)
    path = exported(model, tmp_path)

    for n in (1, 5):
        x = torch.randn(n, *SHAPE)
        torch.testing.assert_close(run(path, x), model.eval()(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("unsigned", [False, True])
def test_fixed_point_inputs_are_the_same_in_onnxruntime(unsigned, tmp_path):
    model = convert_to_shift(network(), ShiftConfig(activation_bits=(3, 4), unsigned_activations=unsigned))
    x = torch.randn(4, *SHAPE) * 3

    torch.testing.assert_close(run(exported(model, tmp_path), x), model.eval()(x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps", "s3", "denseshift"])
def test_every_weight_in_the_file_is_zero_or_a_signed_power_of_two(quantizer, tmp_path):
    path = exported(convert_to_shift(network(), ShiftConfig(quantizer, 3)), tmp_path)

    initialisers = [onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer]
    weights = [array for array in initialisers if array.ndim >= 2]

    assert sorted(w.size for w in weights) == [6 * 5 * 4, 6 * 3 * 9, 5 * 49 * 4]
    for weight in weights:
        mantissa = np.frexp(np.abs(weight[weight != 0]))[0]
        assert (mantissa == 0.5).all()


@pytest.mark.slow
def test_batch_normalisation_is_left_beside_the_convolution(tmp_path):
    path = exported(convert_to_shift(network(), ShiftConfig()), tmp_path)

    assert "BatchNormalization" in {node.op_type for node in onnx.load(path).graph.node}


def test_one_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two images or more, got 1"):
        export_onnx(convert_to_shift(network(), ShiftConfig()), tmp_path / "model.onnx", torch.randn(1, *SHAPE))


def test_a_missing_exporter_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())

    with pytest.raises(ImportError, match=r"needs onnxscript: pip install 'greenshift\[onnx\]'"):
        export_onnx(network(), tmp_path / "model.onnx", torch.randn(2, *SHAPE))
