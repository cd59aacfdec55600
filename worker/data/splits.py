"""The one fixed split of a data set, and its images as workers hold them: bytes, normalised batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data.cache import Arrays
from worker.data.raw import Images, Labels, Part, RawData
from worker.errors import ConfigurationError
from worker.schema import AugmentationName

SPLIT_SEED = 20240402
VALIDATION_SHARE = 0.2
_CHUNK = 1024


@dataclass(frozen=True)
class Split:
    """Images as they were read, with what normalises them.

    Attributes:
        images: (n, channels, height, width), uint8.
        labels: (n,), int64.
        mean: of the training images, (channels, 1, 1), float32.
        deviation: likewise.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor = torch.zeros(())  # noqa: RUF009 - nobody writes to it
    deviation: Tensor = torch.ones(())  # noqa: RUF009

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """The normalised images of `indices`, float32 (batch, channels, height, width), on the device of `images`."""
        return self.normalise(self.pick(indices))

    def pick(self, indices: Tensor | slice) -> Tensor:
        """The images of `indices` as they were read."""
        # Many times faster than images[indices] on a CPU.
        return self.images[indices] if isinstance(indices, slice) else self.images.index_select(0, indices)

    def normalise(self, images: Tensor) -> Tensor:
        """Images (batch, channels, height, width) of any type as float32, less the mean, over the deviation."""
        return images.to(torch.float32, copy=True).sub_(self.mean).div_(self.deviation)

    def to(self, device: torch.device) -> Split:
        """The same split on `device`, as bytes."""
        moved = (part.to(device) for part in (self.images, self.labels, self.mean, self.deviation))
        return Split(*moved)

    def subset(self, indices: Tensor | slice) -> Split:
        """The images and labels of `indices` alone, normalised as before."""
        return Split(self.pick(indices), self.labels[indices], self.mean, self.deviation)


def join(one: Split, other: Split) -> Split:
    """The images of both, normalised as the first."""
    images, labels = torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels])
    return Split(images, labels, one.mean, one.deviation)


@dataclass(frozen=True)
class Dataset:
    """A data set in memory. `train` and `validation` are what a search may see; `test` is for the very end.

    Attributes:
        augmentation: what training does to images where the recipe does not say.
    """

    name: str
    n_classes: int
    train: Split
    validation: Split
    test: Split
    augmentation: tuple[AugmentationName, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width


def cut(raw: RawData, name: str) -> Arrays:
    """Images and labels of the three parts, and the training part's mean and deviation, ready to be stored.

    Where the data set brings no test or no validation part, a fifth of the training images, stratified by class,
    becomes it: first the test part, then the validation part from what is left.

    Raises:
        ConfigurationError: the arrays are not what `RawData` promises.
    """
    parts = {"train": raw.train, "test": raw.test, "validation": raw.validation}
    for part in parts.values():
        if part is not None:
            _check(part, raw.train[0].shape[1:], name)
    train = _as_part(raw.train)
    held: dict[str, Part] = {}
    for part_name in ("test", "validation"):
        given = parts[part_name]
        if given is None:
            train, held[part_name] = _hold_out(train)
        else:
            held[part_name] = _as_part(given)
    arrays: Arrays = {}
    for part_name, (images, labels) in {"train": train, **held}.items():
        arrays[f"{part_name}-images"], arrays[f"{part_name}-labels"] = images, labels
    if not len(train[1]):
        raise ConfigurationError(f"dataset {name} has no training images")
    arrays["mean"], arrays["deviation"] = _moments(train[0])
    return arrays


def stratified_split(labels: Labels, share: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sorted indices kept and held out, `share` of every class held out (rounded), by a generator of its own."""
    generator = np.random.default_rng(SPLIT_SEED)
    held_out: list[NDArray[np.intp]] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        held_out.append(members[: round(share * len(members))])
    held = np.sort(np.concatenate(held_out)) if held_out else np.zeros(0, np.intp)
    return np.setdiff1d(np.arange(len(labels)), held), held


def _check(part: Part, shape: tuple[int, ...], name: str) -> None:
    images, labels = part
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
        raise ConfigurationError(
            f"dataset {name}: images must be uint8 (n, channels, height, width), all of one size, "
            f"got {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise ConfigurationError(
            f"dataset {name}: labels must be integers (n,) from 0, one for each of {len(images)} images, "
            f"got {labels.dtype} {labels.shape}"
        )


def _as_part(part: Part) -> Part:
    return part[0], part[1].astype(np.int64)


def _hold_out(part: Part) -> tuple[Part, Part]:
    images, labels = part
    kept, held = stratified_split(labels, VALIDATION_SHARE)
    return (images[kept], labels[kept]), (images[held], labels[held])


def _moments(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation per channel, (channels, 1, 1), from exact sums; a constant channel has deviation one."""
    n_channels = images.shape[1]
    totals = np.zeros((2, n_channels), np.uint64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].astype(np.uint16)  # 255 squared fits
        totals[0] += chunk.sum(axis=(0, 2, 3), dtype=np.uint64)
        totals[1] += np.square(chunk).sum(axis=(0, 2, 3), dtype=np.uint64)
    mean, square = totals / (images.size / n_channels)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    deviation[deviation == 0] = 1
    return mean.astype(np.float32).reshape(-1, 1, 1), deviation.astype(np.float32).reshape(-1, 1, 1)
