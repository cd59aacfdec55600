"""Street View House Numbers, cropped digits, from its two MATLAB files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worker.data.files import data_folder, required
from worker.data.raw import Part, RawData
from worker.errors import ConfigurationError


def svhn_files(data_dir: Path | None) -> list[Path]:
    """The training and the test file, in DATA_DIR/svhn or DATA_DIR itself."""
    root = data_folder("svhn", data_dir)
    folder = root / "svhn" if (root / "svhn").is_dir() else root
    return required("svhn", folder, ["train_32x32.mat", "test_32x32.mat"])


def read_svhn(files: Sequence[Path]) -> RawData:
    """Colour images of 32 x 32 pixels, ten classes, the digit its label."""
    train, test = (_read_mat(path) for path in files)
    return RawData(train, test=test)


def _read_mat(path: Path) -> Part:
    """X is (height, width, channels, n), y is (n, 1) with 10 for the digit 0."""
    from scipy.io import loadmat, matlab  # slow to import: only this data set needs it

    try:
        content = loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"].transpose(3, 2, 0, 1), content["y"].reshape(-1)
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, matlab.MatReadError) as error:
        raise ConfigurationError(f"{path} is no file of SVHN's cropped digits: {error}") from error
    return np.ascontiguousarray(images), labels.astype(np.int64) % 10
