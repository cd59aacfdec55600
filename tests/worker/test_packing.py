"""Networks that were really trained, as files for others."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from shiftlayers import load_packed
from worker.data import load_dataset
from worker.entry import inspect_task, pack_network, run_trial
from worker.errors import ConfigurationError
from worker.families import build_model
from worker.models import build_network
from worker.packing import HEADER, ONNX, PACKED, WEIGHTS
from worker.schema import NetworkFile, Recipe, TrialSpec

DIGITS = load_dataset("digits")
FACTS = inspect_task("digits", "resnet8")
RECIPE = Recipe(quantizer="deepshift-q", weight_bits=3, activation_integer_bits=4, activation_fraction_bits=3,
                optimizer="adam", learning_rate=0.005)  # fmt: skip


def trained(folder: Path, **changes: object) -> tuple[TrialSpec, Path]:
    """A network after one epoch, and its weights."""
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8", "recipe": RECIPE,
              "shift_depth": 10, "epochs": 1, "model_path": str(folder / "t.safetensors")}  # fmt: skip
    spec = TrialSpec.model_validate(fields | changes)
    result = run_trial(spec)
    assert result.failure is None
    return spec, folder / "t.safetensors"


def without_onnx(find: Callable[[str], Any]) -> Callable[[str], Any]:
    """As on a machine where nobody installed it."""
    return lambda name, *more: None if name.startswith("onnx") else find(name, *more)


@pytest.mark.parametrize("changes", [{}, {"shift_depth": 3}, {"family": "float"}], ids=["all layers", "some", "float"])
def test_a_packed_file_predicts_what_the_trained_network_does_bit_for_bit(
    tmp_path: Path, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What ONNX is like, another test looks at.
    monkeypatch.setattr("importlib.util.find_spec", without_onnx(importlib.util.find_spec))
    spec, weights = trained(tmp_path, **changes)
    (tmp_path / "out").mkdir()
    files = {file.name: file for file in pack_network(spec, FACTS, weights, tmp_path / "out")}
    assert files[PACKED].missing is None
    assert files[ONNX].missing == "export_onnx needs onnx and onnxscript: pip install 'greenshift[onnx]'"
    model = build_model(spec, DIGITS)
    model.load_state_dict(load_file(weights))
    packed = load_packed(tmp_path / "out" / PACKED, build_network("resnet8", FACTS.image_shape, FACTS.n_classes))
    images = DIGITS.test.batch(slice(None))
    with torch.no_grad():
        assert torch.equal(packed.eval()(images), model.eval()(images))


def test_a_network_goes_out_in_three_forms(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    spec, weights = trained(tmp_path)
    assert pack_network(spec, FACTS, weights, tmp_path) == [NetworkFile(name=name) for name in (PACKED, ONNX, HEADER)]
    assert (tmp_path / PACKED).stat().st_size < 0.2 * weights.stat().st_size
    images = DIGITS.test.batch(slice(0, 50))
    model = load_packed(tmp_path / PACKED, build_network("resnet8", FACTS.image_shape, FACTS.n_classes)).eval()
    (logits,) = runtime.InferenceSession(tmp_path / ONNX).run(None, {"input": images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(logits), model(images), atol=1e-3)
    (tmp_path / "main.c").write_text(f'#include "{HEADER}"\nint main(void) {{ return NETWORK_OUTPUT_SIZE; }}\n')
    subprocess.run(["gcc", "-std=c99", "-o", "main", "main.c"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 10


def test_layers_of_8_bits_are_copied_as_they_are(tmp_path: Path) -> None:
    spec, weights = trained(tmp_path, family="int8")
    files = pack_network(spec, FACTS, weights, tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == weights.read_bytes()
    assert [file.name for file in files if file.missing is None] == [WEIGHTS]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    spec, weights = trained(tmp_path)
    other = spec.model_copy(update={"network": "resnet20"})
    with pytest.raises(ConfigurationError, match=r"weights: .*t\.safetensors are not those of trial t"):
        pack_network(other, FACTS, weights, tmp_path)
    shutil.copyfile(__file__, weights)
    with pytest.raises(ConfigurationError, match="are not those of trial t"):
        pack_network(spec, FACTS, weights, tmp_path)
