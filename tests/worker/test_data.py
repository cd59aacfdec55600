from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from worker import data
from worker.data import Dataset, fetch_dataset, load_dataset, read_idx, stratified_split
from worker.errors import ConfigurationError

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def idx(array: np.ndarray, type_code: int = 8) -> bytes:
    return bytes([0, 0, type_code, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def splits(dataset: Dataset) -> list[torch.Tensor]:
    return [t for s in (dataset.train, dataset.validation, dataset.test) for t in (s.images, s.labels)]


# The split


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


def test_a_data_set_depends_on_no_global_seed_and_draws_from_none():
    loaded = []
    for seed in (1, 2):
        data._load.cache_clear()
        torch.manual_seed(seed)
        np.random.seed(seed)
        torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
        loaded.append(load_dataset("digits"))
        assert torch.equal(torch.get_rng_state(), torch_before)
        assert np.array_equal(np.random.get_state()[1], numpy_before)

    assert all(torch.equal(a, b) for a, b in zip(*map(splits, loaded), strict=True))


# Digits


def test_digits_are_split_by_class():
    digits = load_dataset("digits")
    counts = np.bincount(load_digits().target)
    n_test = np.array([round(0.2 * n) for n in counts])
    n_validation = np.array([round(0.2 * n) for n in counts - n_test])

    assert digits.test.labels.bincount().tolist() == n_test.tolist()
    assert digits.validation.labels.bincount().tolist() == n_validation.tolist()
    assert digits.train.labels.bincount().tolist() == (counts - n_test - n_validation).tolist()
    assert (digits.n_classes, digits.image_shape, digits.augment) == (10, (1, 8, 8), False)


def test_every_digit_is_in_exactly_one_split():
    digits = load_dataset("digits")
    original = np.sort(load_digits().data.astype(np.float64), axis=0)

    parts = torch.cat([digits.train.images, digits.validation.images, digits.test.images]).flatten(1).double().numpy()

    # Undo the normalisation by the two extreme pixels, which every large sample holds: 0 and 16.
    pixels = (parts - parts.min()) / (parts.max() - parts.min()) * 16
    assert np.allclose(np.sort(pixels, axis=0), original, atol=1e-4)


def test_training_pixels_have_zero_mean_and_unit_deviation():
    images = load_dataset("digits").train.images

    assert images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=1e-4)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_labels_are_int64():
    assert {s.labels.dtype for s in (load_dataset("digits").train, load_dataset("digits").test)} == {torch.int64}


# CIFAR-10


def test_cifar10_is_read_in_its_own_format(cifar_folder):
    cifar = load_dataset("cifar10", str(cifar_folder))

    assert (cifar.image_shape, cifar.n_classes, cifar.augment) == ((3, 32, 32), 10, True)
    assert len(cifar.train) + len(cifar.validation) == 1250
    assert len(cifar.validation) == pytest.approx(250, abs=5)
    assert cifar.test.images.shape == (250, 3, 32, 32)
    assert cifar.test.labels.tolist() == load_digits().target[1250:1500].tolist()


def test_cifar10_is_normalised_by_channel(cifar_folder):
    images = load_dataset("cifar10", str(cifar_folder)).train.images

    assert images.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-4)
    assert images.std(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, abs=1e-4)


def test_the_environment_names_the_data_folder(cifar_folder, monkeypatch):
    monkeypatch.setenv("GREENSHIFT_DATA_DIR", str(cifar_folder))

    assert len(load_dataset("cifar10").test) == 250


def test_an_argument_outranks_the_environment(cifar_folder, monkeypatch):
    monkeypatch.setenv("GREENSHIFT_DATA_DIR", "/nowhere")

    assert len(load_dataset("cifar10", str(cifar_folder)).test) == 250


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_a_data_set_without_a_folder_is_refused(name):
    with pytest.raises(ConfigurationError, match=f"data_dir is needed for dataset {name}.*GREENSHIFT_DATA_DIR"):
        load_dataset(name)


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_a_folder_that_is_missing_is_named(name, tmp_path):
    with pytest.raises(ConfigurationError, match=f"must be an existing folder, got {tmp_path}/absent"):
        load_dataset(name, str(tmp_path / "absent"))


def test_a_missing_batch_is_named_with_its_remedy(tmp_path):
    with pytest.raises(ConfigurationError, match=f"cifar-10-batches-py/data_batch_1.*{tmp_path}.*--download"):
        load_dataset("cifar10", str(tmp_path))


def test_an_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="one of digits, fashion-mnist, cifar10; got 'imagenet'"):
        load_dataset("imagenet")


def test_only_cifar10_can_be_fetched(tmp_path):
    with pytest.raises(ConfigurationError, match="cifar10 only, got dataset digits"):
        fetch_dataset("digits", str(tmp_path))


def test_fetching_without_a_folder_is_refused():
    with pytest.raises(ConfigurationError, match="data_dir is needed for dataset cifar10"):
        fetch_dataset("cifar10", None)


# Fashion-MNIST


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(5,), (3, 4, 2)])
def test_an_idx_file_is_read_plain_or_zipped(tmp_path, shape, suffix):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    content = idx(array)
    (tmp_path / f"some-ubyte{suffix}").write_bytes(gzip.compress(content) if suffix else content)

    assert np.array_equal(read_idx(tmp_path, "some-ubyte"), array)


@pytest.mark.parametrize("content", [b"", b"\1\0\x08\1", idx(np.zeros(3, np.uint8), type_code=0x0D)])
def test_another_file_is_no_idx_file(tmp_path, content):
    (tmp_path / "some-ubyte").write_bytes(content)

    with pytest.raises(ConfigurationError, match="some-ubyte is no IDX file of unsigned bytes"):
        read_idx(tmp_path, "some-ubyte")


def test_a_truncated_file_is_no_idx_file(tmp_path):
    (tmp_path / "some-ubyte").write_bytes(idx(np.zeros((5, 4), np.uint8))[:-3])

    with pytest.raises(ConfigurationError, match="some-ubyte"):
        read_idx(tmp_path, "some-ubyte")


def test_a_truncated_zipped_file_is_no_idx_file(tmp_path):
    (tmp_path / "some-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((50, 40), np.uint8)))[:-12])

    with pytest.raises(ConfigurationError, match="some-ubyte"):
        read_idx(tmp_path, "some-ubyte")


def test_a_missing_idx_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=rf"{tmp_path} must hold some-ubyte or some-ubyte\.gz"):
        read_idx(tmp_path, "some-ubyte")


@pytest.mark.parametrize("subfolder", [".", "fashion-mnist"])
def test_fashion_mnist_is_read_from_the_folder_or_its_subfolder(tmp_path, subfolder):
    folder = tmp_path / subfolder
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for part, n in (("train", 100), ("t10k", 30)):
        images = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n, dtype=np.uint8) % 10))

    dataset = load_dataset("fashion-mnist", str(tmp_path))

    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [80, 20, 30]
    assert dataset.test.labels.tolist() == [n % 10 for n in range(30)]


@pytest.mark.skipif(
    not FASHION_MNIST.is_dir(),
    reason=f"REAL DATA NOT TESTED: {FASHION_MNIST} is missing (apt-get install dataset-fashion-mnist)",
)
def test_the_real_fashion_mnist_loads():
    dataset = load_dataset("fashion-mnist", str(FASHION_MNIST))
    data._load.cache_clear()

    assert dataset.train.images.shape == (48_000, 1, 28, 28)
    assert dataset.validation.labels.bincount().tolist() == [1200] * 10
    assert dataset.test.labels.bincount().tolist() == [1000] * 10
    assert dataset.train.images.double().mean().item() == pytest.approx(0, abs=1e-3)
    assert dataset.train.images.double().std().item() == pytest.approx(1, abs=1e-3)
