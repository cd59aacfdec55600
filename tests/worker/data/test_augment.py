from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.data.augment import augment, crop, flip, translate


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int, *shape: int) -> Tensor:
    # Above zero, so that what moves in is told apart.
    return torch.randint(1, 256, (n, *shape), generator=generator(9), dtype=torch.uint8)


def moves(image: Tensor, mode: str) -> list[Tensor]:
    """Every move of one image by up to an eighth of its sides, by slicing: the slow way."""
    _, height, width = image.shape
    rows, columns = max(1, height // 8), max(1, width // 8)
    padded = F.pad(image.float()[None], (columns, columns, rows, rows), mode=mode)[0].to(image.dtype)
    return [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * rows + 1)
        for left in range(2 * columns + 1)
    ]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 17), (3, 32, 32)])
@pytest.mark.parametrize(("operation", "mode"), [(translate, "constant"), (crop, "reflect")])
def test_each_image_is_moved_as_a_whole(operation, mode, shape):
    images = random_images(12, *shape)

    moved = operation(images, generator())

    assert (moved.shape, moved.dtype) == (images.shape, torch.uint8)
    for before, after in zip(images, moved, strict=True):
        assert sum(torch.equal(after, candidate) for candidate in moves(before, mode)) == 1


def test_every_move_is_equally_likely():
    image = random_images(1, 1, 9, 9)[0]
    moved = translate(image.expand(4500, 1, 9, 9), generator())

    counts = [(moved == candidate).flatten(1).all(dim=1).sum().item() for candidate in moves(image, "constant")]

    assert sum(counts) == 4500
    assert all(400 < count < 600 for count in counts)


def test_half_of_the_images_are_mirrored():
    images = random_images(4000, 2, 3, 4)

    flipped = flip(images, generator())

    kept = (flipped == images).flatten(1).all(dim=1)
    assert torch.equal(flipped[~kept], images[~kept].flip(3))
    assert 1800 < kept.sum() < 2200


@pytest.mark.parametrize("operation", [flip, translate, crop])
def test_an_image_of_one_pixel_stays_as_it_is(operation):
    images = random_images(5, 3, 1, 1)

    assert torch.equal(operation(images, generator()), images)


def test_augmentations_follow_each_other_in_their_order():
    images = random_images(20, 3, 8, 8)
    draws = generator(5)

    by_hand = translate(flip(images, draws), draws)

    assert torch.equal(augment(images, ("flip", "translate"), generator(5)), by_hand)
    assert not torch.equal(augment(images, ("translate", "flip"), generator(5)), by_hand)


def test_no_augmentation_gives_the_images_themselves():
    images = random_images(2, 1, 3, 3)

    assert augment(images, (), generator()) is images


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_bytes_and_floats_are_augmented_alike_and_left_as_they_were(dtype):
    images = random_images(8, 3, 8, 8)
    given = images.to(dtype)

    augmented = augment(given, ("flip", "crop", "translate"), generator())

    assert torch.equal(augmented, augment(images, ("flip", "crop", "translate"), generator()).to(dtype))
    assert torch.equal(given, images.to(dtype))


def test_augmentation_draws_from_its_generator_alone():
    images = random_images(8, 3, 8, 8)
    before = torch.get_rng_state()

    first, second = (augment(images, ("flip", "crop"), generator(5)) for _ in range(2))

    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
