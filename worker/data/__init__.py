"""Data sets by name, from local files, each with one fixed split that no config can change.

A name is one of `dataset_names()`, the entry point of a data set of your own, or `imagefolder:NAME`; `@SIZE` after any
of them asks for square images of that many pixels. Files are decoded once and then shared by all workers of a host.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import torch

from worker.data.cache import Arrays, cache_folders, cached_arrays, fingerprint
from worker.data.cifar import fetch_cifar10
from worker.data.files import NO_FOLDER
from worker.data.idx import read_idx
from worker.data.names import dataset_names, find_source
from worker.data.raw import DataSource, RawData
from worker.data.splits import SPLIT_SEED, VALIDATION_SHARE, Dataset, Split, cut, join, stratified_split
from worker.errors import ConfigurationError

__all__ = [
    "SPLIT_SEED",
    "DataSource",
    "Dataset",
    "RawData",
    "Split",
    "dataset_names",
    "fetch_dataset",
    "join",
    "load_dataset",
    "read_idx",
    "stratified_split",
]
# Raise when the same files would be cut or stored in another way.
_VERSION = 1


def load_dataset(name: str, data_dir: str | None = None) -> Dataset:
    """The data set `name`, read from `data_dir` or, where that is None, from GREENSHIFT_DATA_DIR.

    Splits that the data set does not bring are cut from its training images: a fifth, stratified by class, depending
    on nothing but the data. Mean and deviation are those of the remaining training split, per channel.

    Raises:
        ConfigurationError: unknown name, or a folder that is missing, incomplete or broken.
    """
    return _load(name, _folder(data_dir))


def fetch_dataset(name: str, data_dir: str | None) -> None:
    """Downloads CIFAR-10 into the data folder, which is created if missing; nothing else ever downloads.

    Raises:
        ConfigurationError: another data set, no folder named, or the download failed.
    """
    if name != "cifar10":
        raise ConfigurationError(f"download knows cifar10 only, got dataset {name}")
    folder = _folder(data_dir)
    if folder is None:
        raise ConfigurationError(NO_FOLDER.format(name=name))
    fetch_cifar10(folder)


def _folder(data_dir: str | None) -> str | None:
    return data_dir or os.environ.get("GREENSHIFT_DATA_DIR")


@lru_cache(maxsize=2)
def _load(name: str, data_dir: str | None) -> Dataset:
    source = find_source(name)
    arrays = _arrays(name, source, Path(data_dir) if data_dir is not None else None)
    return Dataset(
        name=name,
        n_classes=1 + max(int(arrays[f"{part}-labels"].max(initial=0)) for part in ("train", "validation", "test")),
        train=_split(arrays, "train"),
        validation=_split(arrays, "validation"),
        test=_split(arrays, "test"),
        augmentation=source.augmentation,
    )


def _arrays(name: str, source: DataSource, data_dir: Path | None) -> Arrays:
    """The cut arrays of a data set, from the cache if it says which files it is made of."""
    if source.files is None:
        return cut(source.read(data_dir), name)
    version = [_VERSION, SPLIT_SEED, VALIDATION_SHARE, source.version]
    key = fingerprint(name, version, source.files(data_dir), data_dir)
    return cached_arrays(cache_folders(data_dir), key, lambda: cut(source.read(data_dir), name))


def _split(arrays: Arrays, part: str) -> Split:
    mean, deviation = torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["deviation"])
    images, labels = torch.from_numpy(arrays[f"{part}-images"]), torch.from_numpy(arrays[f"{part}-labels"])
    return Split(images, labels, mean, deviation)
