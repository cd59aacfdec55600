"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worker.data.raw import RawData


def read_digits(_data_dir: Path | None) -> RawData:
    """1,797 grey images of 8 x 8 pixels, 0 to 16, without a test part."""
    from sklearn.datasets import load_digits  # slow to import: only this data set needs it

    images, labels = load_digits(return_X_y=True)
    return RawData((images.reshape(-1, 1, 8, 8).astype(np.uint8), labels))
