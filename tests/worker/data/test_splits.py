from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.data import RawData, Split, stratified_split
from worker.data.splits import cut
from worker.errors import ConfigurationError


def make_part(n: int, shape: tuple[int, ...] = (3, 4, 5), n_classes: int = 2):
    images = np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)
    return images, np.arange(n) % n_classes


# Cutting


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.sampled_from([0.1, 0.2, 0.5]))
def test_a_split_is_disjoint_complete_and_stratified(labels, share):
    labels = np.array(labels)

    kept, held = stratified_split(labels, share)

    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    for label in np.unique(labels):
        assert (labels[held] == label).sum() == round(share * (labels == label).sum())


def test_a_split_draws_from_each_class_at_random():
    kept, held = stratified_split(np.zeros(1000, dtype=np.int64), 0.2)

    assert len(held) == 200
    assert held.max() > 900
    assert held.min() < 100
    assert np.array_equal(kept, np.sort(kept))


def test_a_split_depends_on_no_global_seed():
    labels = np.arange(500) % 7
    np.random.seed(1)
    _, first = stratified_split(labels, 0.2)
    np.random.seed(2)
    _, second = stratified_split(labels, 0.2)

    assert np.array_equal(first, second)


def test_parts_that_are_missing_are_cut_test_first():
    arrays = cut(RawData(make_part(100)), "mine")

    assert [len(arrays[f"{part}-labels"]) for part in ("train", "validation", "test")] == [64, 16, 20]


def test_the_parts_of_a_data_set_are_cut_without_overlap():
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)

    arrays = cut(RawData((images, np.arange(200) % 3)), "mine")

    parts = [arrays[f"{part}-images"].flatten() for part in ("train", "validation", "test")]
    assert np.sort(np.concatenate(parts)).tolist() == list(range(200))


def test_parts_that_a_data_set_brings_are_kept():
    raw = RawData(make_part(50), validation=make_part(7), test=make_part(9))

    arrays = cut(raw, "mine")

    for name, part in (("train", raw.train), ("validation", raw.validation), ("test", raw.test)):
        assert np.array_equal(arrays[f"{name}-images"], part[0])
        assert np.array_equal(arrays[f"{name}-labels"], part[1])


@pytest.mark.parametrize("n", [1, 100, 3000])
def test_mean_and_deviation_are_those_of_the_training_part(n):
    raw = RawData(make_part(n), validation=make_part(7), test=make_part(9))

    arrays = cut(raw, "mine")

    pixels = raw.train[0].astype(np.float64)
    np.testing.assert_allclose(arrays["mean"], pixels.mean(axis=(0, 2, 3)).reshape(3, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(arrays["deviation"], pixels.std(axis=(0, 2, 3)).reshape(3, 1, 1), rtol=1e-6)


def test_a_constant_channel_is_not_divided_by_zero():
    arrays = cut(RawData((np.full((10, 1, 2, 2), 7, np.uint8), np.zeros(10, np.int64))), "mine")

    assert (arrays["mean"].item(), arrays["deviation"].item()) == (7, 1)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (RawData((np.zeros((3, 1, 2, 2)), np.zeros(3, int))), "images must be uint8 .* got float64"),
        (RawData((np.zeros((3, 2, 2), np.uint8), np.zeros(3, int))), r"images must be uint8 .* got uint8 \(3, 2, 2\)"),
        (RawData(make_part(4), test=make_part(4, (3, 5, 5))), r"all of one size, got uint8 \(4, 3, 5, 5\)"),
        (RawData((make_part(4)[0], np.zeros(3, int))), "one for each of 4 images"),
        (RawData((make_part(4)[0], np.zeros(4))), "labels must be integers"),
        (RawData((make_part(4)[0], np.full(4, -1))), "from 0"),
        (RawData(make_part(0)), "no training images"),
    ],
)
def test_arrays_of_another_kind_are_refused(raw, message):
    with pytest.raises(ConfigurationError, match=f"dataset mine.*{message}"):
        cut(raw, "mine")


# Splits


def make_split() -> Split:
    arrays = {name: torch.from_numpy(array) for name, array in cut(RawData(make_part(100)), "mine").items()}
    return Split(arrays["train-images"], arrays["train-labels"], arrays["mean"], arrays["deviation"])


def test_a_batch_has_the_images_asked_for_normalised_by_channel():
    split = make_split()
    indices = torch.tensor([5, 0, 5])

    batch = split.batch(indices)

    assert (batch.dtype, batch.shape) == (torch.float32, (3, 3, 4, 5))
    torch.testing.assert_close(batch, (split.images[indices].float() - split.mean) / split.deviation)
    assert torch.equal(split.batch(slice(5, 6)), batch[:1])


def test_all_training_images_together_have_zero_mean_and_unit_deviation():
    batch = make_split().batch(slice(None))

    assert batch.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert batch.std(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_batch_leaves_the_images_as_they_were(dtype):
    images = torch.ones(4, 1, 2, 2, dtype=dtype)
    split = Split(images, torch.zeros(4, dtype=torch.int64), torch.tensor(3.0), torch.tensor(2.0))

    split.batch(slice(0, 2))
    split.normalise(split.images)

    assert torch.equal(images, torch.ones(4, 1, 2, 2, dtype=dtype))


def test_a_subset_keeps_mean_and_deviation():
    split = make_split()

    subset = split.subset(torch.tensor([3, 1]))

    assert len(subset) == 2
    assert torch.equal(subset.batch(slice(None)), split.batch(torch.tensor([3, 1])))
    assert subset.labels.tolist() == split.labels[[3, 1]].tolist()


def test_a_split_moves_as_bytes():
    moved = make_split().to(torch.device("meta"))

    assert {part.device.type for part in (moved.images, moved.labels, moved.mean, moved.deviation)} == {"meta"}
    assert moved.images.dtype == torch.uint8
