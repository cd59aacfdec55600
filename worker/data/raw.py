"""What a reader of a data set gives back, and what greenshift needs to know of it: the protocol for your own.

An entry point of the group `greenshift.datasets` names a function `(data_dir: Path | None) -> RawData`, or a
`DataSource` where decoding takes long enough to be shared between workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.schema import AugmentationName

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Part = tuple[Images, Labels]


@dataclass(frozen=True)
class RawData:
    """Images (n, channels, height, width), uint8, each part with integer labels (n,) from 0.

    Attributes:
        train: training images and labels.
        validation: a part of its own that a search may see; cut from `train` where None.
        test: a part that no search ever sees; cut from `train` where None.
    """

    train: Part
    validation: Part | None = None
    test: Part | None = None


@dataclass(frozen=True)
class DataSource:
    """A data set that can be read from a folder.

    Attributes:
        read: the data set as it lies in the data folder, which is None where none is known.
        files: every file that `read` reads; the decoded images are cached until name, size or time of one of them
            changes. None: read afresh by every process.
        augmentation: what training does to images where the recipe does not say.
        version: raise it when `read` gives other arrays for the same files.
    """

    read: Callable[[Path | None], RawData]
    files: Callable[[Path | None], Sequence[Path]] | None = None
    augmentation: tuple[AugmentationName, ...] = ()
    version: int = 1
