"""Image files in folders: Tiny ImageNet, Caltech-101 and any folder of your own, resized and centre-cropped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from worker.data.files import data_folder, required, subfolder
from worker.data.raw import Images, Part, RawData
from worker.errors import ConfigurationError

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
Labelled = list[tuple[Path, int]]


@dataclass(frozen=True)
class Listing:
    """Files with their labels before any is opened; parts as in `RawData`."""

    train: Labelled
    validation: Labelled | None = None
    test: Labelled | None = None

    @property
    def files(self) -> list[Path]:
        """All image files."""
        return [path for part in (self.train, self.validation, self.test) for path, _ in part or ()]


def list_tiny_imagenet(data_dir: Path | None) -> Listing:
    """DATA_DIR/tiny-imagenet-200: 200 classes in the order of wnids.txt.

    Its val/ is the test part here, because its own test images have no labels.
    """
    folder = subfolder("tiny-imagenet", data_dir, ("tiny-imagenet-200", "tiny-imagenet"))
    wnids, annotations = required("tiny-imagenet", folder, ["wnids.txt", "val/val_annotations.txt"])
    labels = {wnid: label for label, wnid in enumerate(wnids.read_text().split())}
    train = [(path, label) for wnid, label in labels.items() for path in _images(folder / "train" / wnid / "images")]
    test: Labelled = []
    for line in annotations.read_text().splitlines():
        file, wnid = line.split("\t")[:2]
        if wnid not in labels:
            raise ConfigurationError(f"{annotations}: class {wnid} is not in {wnids}")
        test.append((folder / "val/images" / file, labels[wnid]))
    required("tiny-imagenet", folder, [f"val/images/{path.name}" for path, _ in test])
    return Listing(train, test=test)


def list_caltech101(data_dir: Path | None) -> Listing:
    """The 101 classes of 101_ObjectCategories without BACKGROUND_Google, which is none; no test part."""
    candidates = ("101_ObjectCategories", "caltech-101/101_ObjectCategories", "caltech101/101_ObjectCategories")
    folder = subfolder("caltech101", data_dir, candidates)
    return Listing(_labelled(folder, _classes(folder, {"BACKGROUND_Google"})))


def list_image_folder(name: str, data_dir: Path | None) -> Listing:
    """DATA_DIR/NAME/train/CLASS/*.jpg, and val and test beside train where they exist.

    Classes are the folders of train, sorted.

    Raises:
        ConfigurationError: a name that leaves the data folder, no train folder, a class that train lacks.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ConfigurationError(f"imagefolder:NAME must name a folder directly in data_dir, got {name!r}")
    root = data_folder(f"imagefolder:{name}", data_dir) / name
    if not (root / "train").is_dir():
        raise ConfigurationError(f"dataset imagefolder:{name}: data_dir must hold the folder {name}/train: {root}")
    classes = _classes(root / "train")

    def part(*candidates: str) -> Labelled | None:
        folder = next((root / c for c in candidates if (root / c).is_dir()), None)
        if folder is None:
            return None
        if extra := sorted(set(_classes(folder)) - set(classes)):
            raise ConfigurationError(f"{folder} has the class {extra[0]}, which {root / 'train'} lacks")
        return _labelled(folder, classes)

    return Listing(_labelled(root / "train", classes), part("val", "validation"), part("test"))


def decode(listing: Listing, size: int) -> RawData:
    """All images as (n, 3, size, size): scaled so that the shorter side fits, then cut to the centre.

    Raises:
        ConfigurationError: a file that is no image.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        train, *others = (_decode_part(part, size, pool) for part in (listing.train, listing.validation, listing.test))
    if train is None:
        raise ConfigurationError("a listing without training images cannot be decoded")
    return RawData(train, *others)


def _decode_part(part: Labelled | None, size: int, pool: ThreadPoolExecutor) -> Part | None:
    if part is None:
        return None
    images = np.empty((len(part), 3, size, size), np.uint8)
    for row, image in zip(images, pool.map(lambda item: _decode_file(item[0], size), part), strict=True):
        row[:] = image
    return images, np.array([label for _, label in part], np.int64)


def _decode_file(path: Path, size: int) -> Images:
    try:
        with Image.open(path) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigurationError(f"{path} is no image that can be read: {error}") from error
    return np.asarray(fitted).transpose(2, 0, 1)


def _classes(folder: Path, without: Iterable[str] = ()) -> list[str]:
    names = (path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(set(names) - set(without))


def _labelled(folder: Path, classes: list[str]) -> Labelled:
    """All images of the class folders; a class without a folder here has none."""
    found = [
        (path, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for path in _images(folder / name)
    ]
    if not found:
        raise ConfigurationError(f"{folder} must hold a folder of images for each class, found none")
    return found


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigurationError(f"data_dir must hold the folder {folder}, which is missing")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
