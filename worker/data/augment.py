"""Augmentation of whole batches on the device that holds them, by a generator on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.schema import AugmentationName


def augment(images: Tensor, names: Iterable[AugmentationName], generator: torch.Generator) -> Tensor:
    """Images after each of the augmentations `names` in turn, as a new tensor of the same type.

    Args:
        images: (batch, channels, height, width), of any type; black is zero.
        names: `flip` mirrors each image with probability one half; `translate` moves it by up to an eighth of each
            side, black moving in; `crop` does the same with the image mirrored at its edge moving in.
        generator: on the CPU; nothing else decides.
    """
    for name in names:
        images = _OPERATIONS[name](images, generator)
    return images


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    # Which ones is known on the CPU, so that no device is waited for.
    chosen = (torch.rand(len(images), generator=generator) < 0.5).nonzero().squeeze(1).to(images.device)
    return images.index_copy(0, chosen, images.index_select(0, chosen).flip(3))


def translate(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to an eighth of its height and width; what moves in is zero."""
    rows, columns = _reach(images)
    return _windows(F.pad(images, (columns, columns, rows, rows)), images.shape, generator)


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to an eighth of its height and width; what moves in is its mirror at the edge."""
    rows, columns = _reach(images)
    _, _, height, width = images.shape
    padded = images.index_select(2, _mirrored(height, rows).to(images.device))
    padded = padded.index_select(3, _mirrored(width, columns).to(images.device))
    return _windows(padded, images.shape, generator)


def _reach(images: Tensor) -> tuple[int, int]:
    """Largest move in pixels along height and width: an eighth, 1 at least, short of the whole side."""
    height, width = images.shape[2:]
    return min(max(1, height // 8), height - 1), min(max(1, width // 8), width - 1)


def _mirrored(length: int, reach: int) -> Tensor:
    """Positions reach .. 1, 0 .. length - 1, length - 2 .. : an axis mirrored at both ends."""
    positions = torch.arange(-reach, length + reach).abs()
    return torch.minimum(positions, 2 * (length - 1) - positions)


def _windows(padded: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """One window of `shape` out of each padded image, every place equally likely."""
    n, _, height, width = shape
    # Indexing a view of all windows copies whole rows, which is five times as fast as pixel by pixel.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top = torch.randint(0, windows.shape[2], (n,), generator=generator).to(padded.device)
    left = torch.randint(0, windows.shape[3], (n,), generator=generator).to(padded.device)
    return windows[torch.arange(n, device=padded.device), :, top, left]


_OPERATIONS: dict[AugmentationName, Callable[[Tensor, torch.Generator], Tensor]] = {
    "flip": flip,
    "translate": translate,
    "crop": crop,
}
