"""A trained network as files for others: packed, as ONNX and as a C header, as far as the network allows."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shiftlayers import export_c, export_onnx, fold_batch_norm, load_packed, save_packed
from worker.errors import ConfigurationError, WorkerError
from worker.families import build_model
from worker.models import build_network
from worker.schema import NetworkFile, TaskFacts, TrialSpec

PACKED, WEIGHTS, ONNX, HEADER = "model.packed.safetensors", "model.safetensors", "model.onnx", "model.h"
_N_IMAGES = 4


def pack(spec: TrialSpec, facts: TaskFacts, weights: Path, folder: Path) -> list[NetworkFile]:
    """Writes the network of `spec` with the `weights` that its trial left; see `worker.entry.pack_network`.

    A network with layers of 8 bits has no packed form, and its weights are copied as they are.
    """
    model = _load(spec, facts, weights)
    if spec.family == "int8":
        shutil.copyfile(weights, folder / WEIGHTS)
        reason = "layers trained for 8-bit integers have no packed form"
        return [NetworkFile(name=WEIGHTS), *(NetworkFile(name=n, missing=reason) for n in (PACKED, ONNX, HEADER))]
    images = torch.rand(_N_IMAGES, *facts.image_shape, generator=torch.Generator().manual_seed(0))
    save_packed(model, folder / PACKED)
    _check(spec, facts, folder / PACKED, images, model)
    return [
        NetworkFile(name=PACKED),
        _try(folder / ONNX, lambda path: _quietly(lambda: export_onnx(model, path, images[:2]))),
        _try(folder / HEADER, lambda path: export_c(fold_batch_norm(model), path, facts.image_shape)),
    ]


def _load(spec: TrialSpec, facts: TaskFacts, weights: Path) -> nn.Module:
    """The network as its trial left it, ready to evaluate."""
    model = build_model(spec.model_copy(update={"weights_path": None}), facts)
    try:
        model.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(f"weights: {weights} are not those of trial {spec.trial_id}: {reason}") from error
    return model.eval()


def _check(spec: TrialSpec, facts: TaskFacts, packed: Path, images: Tensor, model: nn.Module) -> None:
    """Refuses a packed file that does not predict bit for bit what the trained network does."""
    read_back = load_packed(packed, build_network(spec.network, facts.image_shape, facts.n_classes)).eval()
    with torch.no_grad():
        if not torch.equal(read_back(images), model(images)):
            raise WorkerError(f"{packed} predicts something else than the network of trial {spec.trial_id}")


def _try(path: Path, write: Callable[[Path], None]) -> NetworkFile:
    """The file, or why this network has none."""
    try:
        write(path)
    except (ImportError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        path.unlink(missing_ok=True)
        return NetworkFile(name=path.name, missing=" ".join(str(error).split())[:300] or type(error).__name__)
    return NetworkFile(name=path.name)


def _quietly(write: Callable[[], None]) -> None:
    """PyTorch's exporter tells users of what only its authors can change."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write()
    finally:
        logging.disable(before)
