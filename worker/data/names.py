"""Which name means which data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from worker.data.cifar import cifar10_files, cifar100_files, read_cifar
from worker.data.digits import read_digits
from worker.data.folders import Listing, decode, list_caltech101, list_image_folder, list_tiny_imagenet
from worker.data.idx import fashion_mnist_files, mnist_files, read_mnist
from worker.data.raw import DataSource, RawData
from worker.data.resize import resize
from worker.data.svhn import read_svhn, svhn_files
from worker.errors import ConfigurationError
from worker.plugins import load_plugin, plugin_names
from worker.schema import AugmentationName
from worker.spelling import did_you_mean

DEFAULT_SIZE = 64
MAX_SIZE = 1024
_IMAGE_FOLDER = "imagefolder:"
_MIRRORED: tuple[AugmentationName, ...] = ("flip", "translate")


def dataset_names() -> list[str]:
    """Every name but those of image folders, which are up to the user."""
    return [*_BY_FILES, *_BY_LISTING, *(n for n in plugin_names("greenshift.datasets") if n not in _OURS)]


def find_source(name: str) -> DataSource:
    """The data set `NAME` or `NAME@SIZE`; a name of ours outranks an entry point of the same name.

    Raises:
        ConfigurationError: unknown name, or a size that is no number of pixels from 1 to 1024.
    """
    base, at, digits = name.partition("@")
    if at and not (re.fullmatch(r"[1-9]\d{0,3}", digits) and int(digits) <= MAX_SIZE):
        raise ConfigurationError(f"dataset NAME@SIZE needs a size of 1 to {MAX_SIZE} pixels, got {name!r}")
    size = int(digits) if at else None
    if (listing := _listing(base)) is not None:
        return _from_listing(listing, size or DEFAULT_SIZE)
    source = _BY_FILES.get(base) or _plugin(base)
    if source is None:
        known = [*dataset_names(), f"{_IMAGE_FOLDER}NAME"]
        guess = did_you_mean(base, known)
        raise ConfigurationError(f"dataset must be one of {', '.join(known)}; got {name!r}{guess}")
    return source if size is None else _resized(source, size)


def _listing(base: str) -> Callable[[Path | None], Listing] | None:
    if base.startswith(_IMAGE_FOLDER):
        return lambda data_dir: list_image_folder(base.removeprefix(_IMAGE_FOLDER), data_dir)
    return _BY_LISTING.get(base)


def _from_listing(list_files: Callable[[Path | None], Listing], size: int) -> DataSource:
    def files(data_dir: Path | None) -> list[Path]:
        return list_files(data_dir).files

    return DataSource(lambda data_dir: decode(list_files(data_dir), size), files, _MIRRORED)


def _from_files(
    files: Callable[[Path | None], list[Path]],
    read: Callable[[Sequence[Path]], RawData],
    *augmentation: AugmentationName,
) -> DataSource:
    return DataSource(lambda data_dir: read(files(data_dir)), files, augmentation)


def _plugin(name: str) -> DataSource | None:
    found = load_plugin("greenshift.datasets", name)
    if found is None or isinstance(found, DataSource):
        return found
    if not callable(found):
        raise ConfigurationError(f"greenshift.datasets {name!r} must be a function or a DataSource, got {found!r}")

    def read(data_dir: Path | None) -> RawData:
        raw = found(data_dir)
        if not isinstance(raw, RawData):
            raise ConfigurationError(f"greenshift.datasets {name!r} must give RawData, got {type(raw).__name__}")
        return raw

    return DataSource(read)


def _resized(source: DataSource, size: int) -> DataSource:
    return replace(source, read=lambda data_dir: resize(source.read(data_dir), size))


_BY_FILES: dict[str, DataSource] = {
    "digits": DataSource(read_digits),
    "fashion-mnist": _from_files(fashion_mnist_files, read_mnist),
    "mnist": _from_files(mnist_files, read_mnist, "translate"),
    "cifar10": _from_files(cifar10_files, read_cifar, *_MIRRORED),
    "cifar100": _from_files(cifar100_files, read_cifar, *_MIRRORED),
    "svhn": _from_files(svhn_files, read_svhn, "translate"),
}
_BY_LISTING: dict[str, Callable[[Path | None], Listing]] = {
    "tiny-imagenet": list_tiny_imagenet,
    "caltech101": list_caltech101,
}
_OURS = {*_BY_FILES, *_BY_LISTING}
