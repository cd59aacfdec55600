"""MNIST and Fashion-MNIST in their own format, IDX, plain or gzipped."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worker.data.files import data_folder, subfolder
from worker.data.raw import Images, Labels, RawData
from worker.errors import ConfigurationError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def mnist_files(data_dir: Path | None) -> list[Path]:
    """MNIST's four files, in DATA_DIR/mnist or torchvision's DATA_DIR/MNIST/raw: their names tell nothing."""
    folder = subfolder("mnist", data_dir, ("mnist", "MNIST/raw"))
    return [_idx_file(folder, name) for name in FILES]


def fashion_mnist_files(data_dir: Path | None) -> list[Path]:
    """Fashion-MNIST's four files, in DATA_DIR/fashion-mnist, torchvision's folder or DATA_DIR itself."""
    root = data_folder("fashion-mnist", data_dir)
    folders = [root / "fashion-mnist", root / "FashionMNIST/raw"]
    folder = next((f for f in folders if f.is_dir()), root)
    return [_idx_file(folder, name) for name in FILES]


def read_mnist(files: Sequence[Path]) -> RawData:
    """Grey images of 28 x 28 pixels, 60,000 to train with and 10,000 to test with."""
    images, labels, test_images, test_labels = (_read(path) for path in files)
    return RawData((images[:, None], _labels(labels)), test=(test_images[:, None], _labels(test_labels)))


def read_idx(folder: Path, name: str) -> Images:
    """The unsigned bytes of an IDX file `name` or `name.gz` in `folder`, in the shape that its header gives.

    Raises:
        ConfigurationError: the file is missing, or is no IDX file of unsigned bytes.
    """
    return _read(_idx_file(folder, name))


def _idx_file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ConfigurationError(f"data_dir {folder} must hold {name} or {name}.gz")


def _labels(labels: Images) -> Labels:
    return labels.astype(np.int64)


def _read(path: Path) -> Images:
    try:
        content = path.read_bytes()
        return _parse_idx(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, EOFError, ValueError) as error:
        raise ConfigurationError(f"{path} is no IDX file of unsigned bytes: {error}") from error


def _parse_idx(content: bytes) -> Images:
    """Header: two zero bytes, type 8 (unsigned byte), number of dimensions, then each size as big-endian int32."""
    if content[:3] != b"\0\0\x08":
        raise ValueError("it begins with other bytes")
    n_dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=n_dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)
