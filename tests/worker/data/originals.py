"""Tiny data sets in the formats in which their authors ship them, drawn from scikit-learn's handwritten digits."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits


def colour_digits(n: int, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, size, size) and labels (n,)."""
    images, labels = load_digits(return_X_y=True)
    small = (images[:n].reshape(-1, 1, 8, 8) * 15).astype(np.uint8)
    times = size // 8
    return np.repeat(small.repeat(times, axis=2).repeat(times, axis=3), 3, axis=1), labels[:n]


def idx(array: np.ndarray, type_code: int = 8) -> bytes:
    return bytes([0, 0, type_code, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def write_idx(folder: Path, n_train: int = 100, n_test: int = 30) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n, dtype=np.uint8) % 10))


def write_cifar10(root: Path, n: int = 250) -> None:
    """CIFAR-10's six files as its authors pickled them, `n` images in each, every digit in a tint of its own."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    images, labels = colour_digits(6 * n)
    tints = np.random.default_rng(0).uniform(0.4, 1.0, (len(images), 3, 1, 1))
    images = (images * tints).astype(np.uint8)
    names = [(f"data_batch_{k}", f"training batch {k} of 5") for k in range(1, 6)]
    for number, (name, title) in enumerate([*names, ("test_batch", "testing batch 1 of 1")]):
        part = slice(n * number, n * (number + 1))
        content = {
            b"batch_label": title.encode(),
            b"labels": labels[part].tolist(),
            b"data": images[part].reshape(-1, 3072),
            b"filenames": [f"digit_s_{i:06}.png".encode() for i in range(part.start, part.stop)],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def write_cifar100(root: Path, n: int = 60) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir()
    images, labels = colour_digits(2 * n)
    for name, part in (("train", slice(n)), ("test", slice(n, None))):
        content = {
            b"data": images[part].reshape(-1, 3072),
            b"fine_labels": (labels[part] * 11).tolist(),
            b"coarse_labels": labels[part].tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def write_svhn(folder: Path, n: int = 40) -> None:
    folder.mkdir(exist_ok=True)
    images, labels = colour_digits(2 * n)
    for name, part in (("train", slice(n)), ("test", slice(n, None))):
        matlab_labels = np.where(labels[part] == 0, 10, labels[part])[:, None].astype(np.uint8)
        savemat(folder / f"{name}_32x32.mat", {"X": images[part].transpose(2, 3, 1, 0), "y": matlab_labels})


def write_image(path: Path, image: np.ndarray) -> None:
    """An image (3, height, width) as a file of the type that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.transpose(1, 2, 0)).save(path)


def write_class_folders(folder: Path, n: int, n_classes: int, suffix: str = "png", first: int = 0) -> None:
    """Images `first` to `first + n` under folder/class_K/."""
    images, labels = colour_digits(first + n)
    for number in range(first, first + n):
        label = labels[number] % n_classes
        write_image(folder / f"class_{label}" / f"{number:04}.{suffix}", images[number])


def write_tiny_imagenet(root: Path, n_train: int = 30, n_val: int = 10) -> None:
    folder = root / "tiny-imagenet-200"
    images, labels = colour_digits(n_train + n_val, 64)
    wnids = ["n09", "n01", "n05"]
    for number in range(n_train):
        wnid = wnids[labels[number] % 3]
        write_image(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", images[number])
    lines = []
    for number in range(n_val):
        write_image(folder / "val/images" / f"val_{number}.JPEG", images[n_train + number])
        lines.append(f"val_{number}.JPEG\t{wnids[labels[n_train + number] % 3]}\t0\t32\t44\t62\n")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
