"""CIFAR-10 and CIFAR-100 as their authors ship them for Python: pickled batches."""

from __future__ import annotations

import _codecs
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from worker.data.files import data_folder, required
from worker.data.raw import Part, RawData
from worker.errors import ConfigurationError

_REMEDY = "; `greenshift run --download` fetches CIFAR-10"


def cifar10_files(data_dir: Path | None) -> list[Path]:
    """Five training batches and the test batch of DATA_DIR/cifar-10-batches-py."""
    names = [f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")]
    return required("cifar10", data_folder("cifar10", data_dir), names, _REMEDY)


def cifar100_files(data_dir: Path | None) -> list[Path]:
    """The two files of DATA_DIR/cifar-100-python."""
    names = ["cifar-100-python/train", "cifar-100-python/test"]
    return required("cifar100", data_folder("cifar100", data_dir), names)


def read_cifar(files: Sequence[Path]) -> RawData:
    """Colour images of 32 x 32 pixels; the last file is the test part. CIFAR-100 with its hundred fine labels."""
    *train, test = (_read_batch(path) for path in files)
    images, labels = zip(*train, strict=True)
    return RawData((np.concatenate(images), np.concatenate(labels)), test=test)


def fetch_cifar10(folder: str) -> None:
    """Downloads CIFAR-10 into `folder`.

    Raises:
        ConfigurationError: the download failed.
    """
    from torchvision.datasets import CIFAR10  # slow to import: only a download needs it

    try:
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"cifar10 cannot be downloaded into {folder}: {error}") from error


def _read_batch(path: Path) -> Part:
    """Images (n, 3, 32, 32) and labels (n,) of one batch file."""
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
        labels = batch[b"fine_labels"] if b"fine_labels" in batch else batch[b"labels"]
        return batch[b"data"].reshape(-1, 3, 32, 32), np.asarray(labels, dtype=np.int64)
    except (pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is no batch of CIFAR: {error}") from error


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays and plain containers only: a batch file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        known = {"_reconstruct": _reconstruct, "ndarray": np.ndarray, "dtype": np.dtype, "encode": _codecs.encode}
        if module.partition(".")[0] not in ("numpy", "_codecs") or name not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[name]
