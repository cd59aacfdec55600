"""Data sets by name, from local files, each with one fixed split that no config can change."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.errors import ConfigurationError

SPLIT_SEED = 20240402
VALIDATION_SHARE = 0.2
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images (n, channels, height, width), float32 with zero mean and unit deviation; labels (n,), int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def join(one: Split, other: Split) -> Split:
    """The images of both."""
    return Split(torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels]))


@dataclass(frozen=True)
class Dataset:
    """A data set in memory. `train` and `validation` are what a search may see; `test` is for the very end.

    Attributes:
        augment: training images may be flipped and translated.
    """

    name: str
    n_classes: int
    train: Split
    validation: Split
    test: Split
    augment: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width


@dataclass(frozen=True)
class _Raw:
    """Images (n, channels, height, width) as read and integer labels (n,), before the validation split is cut."""

    images: Images
    labels: Labels
    test_images: Images
    test_labels: Labels


def load_dataset(name: str, data_dir: str | None = None) -> Dataset:
    """The data set `name`, read from `data_dir` or, where that is None, from GREENSHIFT_DATA_DIR.

    A fifth of the training images, stratified by class, is the validation split; it depends on nothing but the
    data. Images are normalised by mean and deviation of the remaining training split, per channel.

    Raises:
        ConfigurationError: unknown name, or a folder that is missing or incomplete.
    """
    if name not in _READERS:
        raise ConfigurationError(f"dataset must be one of {', '.join(_READERS)}; got {name!r}")
    return _load(name, _folder(data_dir))


def _folder(data_dir: str | None) -> str | None:
    return data_dir or os.environ.get("GREENSHIFT_DATA_DIR")


@lru_cache(maxsize=2)
def _load(name: str, data_dir: str | None) -> Dataset:
    raw = _READERS[name](data_dir)
    kept, held_out = stratified_split(raw.labels, VALIDATION_SHARE)
    train_images = raw.images[kept].astype(np.float32)
    mean = train_images.mean(axis=(0, 2, 3), keepdims=True)
    deviation = train_images.std(axis=(0, 2, 3), keepdims=True)

    def split(images: Images, labels: Labels) -> Split:
        normalised = (images.astype(np.float32) - mean) / deviation
        return Split(torch.from_numpy(normalised), torch.from_numpy(labels.astype(np.int64)))

    return Dataset(
        name=name,
        n_classes=int(raw.labels.max()) + 1,
        train=split(raw.images[kept], raw.labels[kept]),
        validation=split(raw.images[held_out], raw.labels[held_out]),
        test=split(raw.test_images, raw.test_labels),
        augment=name in _AUGMENTED,
    )


def stratified_split(labels: Labels, share: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sorted indices kept and held out, `share` of every class held out (rounded), by a generator of its own."""
    generator = np.random.default_rng(SPLIT_SEED)
    held_out: list[NDArray[np.intp]] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        held_out.append(members[: round(share * len(members))])
    held = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), held), held


def _read_digits(_data_dir: str | None) -> _Raw:
    """The 1,797 handwritten 8x8 digits that scikit-learn ships; a fifth is the test split."""
    from sklearn.datasets import load_digits  # optional at import: only this data set needs it

    images, labels = load_digits(return_X_y=True)
    pixels = images.reshape(-1, 1, 8, 8).astype(np.uint8)
    kept, held_out = stratified_split(labels, 0.2)
    return _Raw(pixels[kept], labels[kept], pixels[held_out], labels[held_out])


def _read_cifar10(data_dir: str | None) -> _Raw:
    """CIFAR-10 as its authors ship it for Python, from DATA_DIR/cifar-10-batches-py."""
    folder = _require_folder("cifar10", data_dir) / "cifar-10-batches-py"
    train = [_read_cifar_batch(folder / f"data_batch_{i}") for i in range(1, 6)]
    test_images, test_labels = _read_cifar_batch(folder / "test_batch")
    images, labels = zip(*train, strict=True)
    return _Raw(np.concatenate(images), np.concatenate(labels), test_images, test_labels)


def _read_cifar_batch(path: Path) -> tuple[Images, Labels]:
    """Images (n, 3, 32, 32) and labels (n,) of one batch file."""
    if not path.is_file():
        raise ConfigurationError(
            f"data_dir must hold cifar-10-batches-py/{path.name}, which is missing in {path.parent.parent}; "
            "`greenshift run --download` fetches CIFAR-10"
        )
    try:
        with path.open("rb") as file:
            batch = pickle.load(file, encoding="bytes")
        return batch[b"data"].reshape(-1, 3, 32, 32), np.asarray(batch[b"labels"], dtype=np.int64)
    except (pickle.UnpicklingError, EOFError, LookupError, ValueError) as error:
        raise ConfigurationError(f"{path} is no batch of CIFAR-10: {error}") from error


def _read_fashion_mnist(data_dir: str | None) -> _Raw:
    """Fashion-MNIST from its four IDX files, plain or gzipped, in DATA_DIR or DATA_DIR/fashion-mnist."""
    folder = _require_folder("fashion-mnist", data_dir)
    if (folder / "fashion-mnist").is_dir():
        folder = folder / "fashion-mnist"
    return _Raw(
        read_idx(folder, "train-images-idx3-ubyte")[:, None],
        read_idx(folder, "train-labels-idx1-ubyte").astype(np.int64),
        read_idx(folder, "t10k-images-idx3-ubyte")[:, None],
        read_idx(folder, "t10k-labels-idx1-ubyte").astype(np.int64),
    )


def read_idx(folder: Path, name: str) -> Images:
    """The unsigned bytes of an IDX file `name` or `name.gz` in `folder`, in the shape that its header gives.

    Raises:
        ConfigurationError: the file is missing, or is no IDX file of unsigned bytes.
    """
    plain, zipped = folder / name, folder / f"{name}.gz"
    if not (plain.is_file() or zipped.is_file()):
        raise ConfigurationError(f"data_dir {folder} must hold {name} or {name}.gz")
    try:
        content = plain.read_bytes() if plain.is_file() else gzip.decompress(zipped.read_bytes())
        return _parse_idx(content)
    except (OSError, EOFError, ValueError) as error:
        raise ConfigurationError(f"{folder / name} is no IDX file of unsigned bytes: {error}") from error


def _parse_idx(content: bytes) -> Images:
    """Header: two zero bytes, type 8 (unsigned byte), number of dimensions, then each size as big-endian int32."""
    if content[:3] != b"\0\0\x08":
        raise ValueError("it begins with other bytes")
    n_dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=n_dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def fetch_dataset(name: str, data_dir: str | None) -> None:
    """Downloads CIFAR-10 into the data folder, which is created if missing; nothing else ever downloads.

    Raises:
        ConfigurationError: another data set, no folder named, or the download failed.
    """
    if name != "cifar10":
        raise ConfigurationError(f"download knows cifar10 only, got dataset {name}")
    folder = _folder(data_dir)
    if folder is None:
        raise ConfigurationError(_NO_FOLDER.format(name=name))
    from torchvision.datasets import CIFAR10  # slow to import: only this data set needs it

    try:
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"cifar10 cannot be downloaded into {folder}: {error}") from error


def _require_folder(name: str, data_dir: str | None) -> Path:
    if data_dir is None:
        raise ConfigurationError(_NO_FOLDER.format(name=name))
    if not Path(data_dir).is_dir():
        raise ConfigurationError(f"data_dir must be an existing folder, got {data_dir}")
    return Path(data_dir)


_READERS: dict[str, Callable[[str | None], _Raw]] = {
    "digits": _read_digits,
    "fashion-mnist": _read_fashion_mnist,
    "cifar10": _read_cifar10,
}
_AUGMENTED = {"cifar10"}
_NO_FOLDER = "data_dir is needed for dataset {name}: pass --data-dir or set GREENSHIFT_DATA_DIR"
