from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from worker import data
from worker.data import Dataset, fetch_dataset, load_dataset
from worker.errors import ConfigurationError


def splits(dataset: Dataset) -> list[torch.Tensor]:
    return [t for s in (dataset.train, dataset.validation, dataset.test) for t in (s.images, s.labels)]


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


def test_digits_are_split_by_class():
    digits = load_dataset("digits")
    counts = np.bincount(load_digits().target)
    n_test = np.array([round(0.2 * n) for n in counts])
    n_validation = np.array([round(0.2 * n) for n in counts - n_test])

    assert digits.test.labels.bincount().tolist() == n_test.tolist()
    assert digits.validation.labels.bincount().tolist() == n_validation.tolist()
    assert digits.train.labels.bincount().tolist() == (counts - n_test - n_validation).tolist()
    assert (digits.n_classes, digits.image_shape, digits.augmentation) == (10, (1, 8, 8), ())


def test_every_digit_is_in_exactly_one_split():
    digits = load_dataset("digits")

    parts = torch.cat([digits.train.images, digits.validation.images, digits.test.images]).flatten(1).numpy()

    original = load_digits().data.astype(np.uint8)
    assert parts.dtype == np.uint8
    assert sorted(map(bytes, parts)) == sorted(map(bytes, original))


def test_every_split_is_normalised_by_the_training_images():
    digits = load_dataset("digits")

    assert digits.train.batch(slice(None)).mean().item() == pytest.approx(0, abs=1e-5)
    assert digits.train.batch(slice(None)).std(correction=0).item() == pytest.approx(1, abs=1e-5)
    for split in (digits.validation, digits.test):
        assert torch.equal(split.mean, digits.train.mean)
        assert torch.equal(split.deviation, digits.train.deviation)


def test_labels_are_int64():
    digits = load_dataset("digits")

    assert {split.labels.dtype for split in (digits.train, digits.validation, digits.test)} == {torch.int64}


def test_the_environment_names_the_data_folder(cifar_folder, monkeypatch):
    monkeypatch.setenv("GREENSHIFT_DATA_DIR", str(cifar_folder))

    assert len(load_dataset("cifar10").test) == 250


def test_an_argument_outranks_the_environment(cifar_folder, monkeypatch):
    monkeypatch.setenv("GREENSHIFT_DATA_DIR", "/nowhere")

    assert len(load_dataset("cifar10", str(cifar_folder)).test) == 250


IN_FOLDERS = [
    "cifar10",
    "cifar100",
    "fashion-mnist",
    "mnist",
    "svhn",
    "tiny-imagenet",
    "caltech101",
    "imagefolder:mine",
]


@pytest.mark.parametrize("name", IN_FOLDERS)
def test_a_data_set_without_a_folder_is_refused(name):
    with pytest.raises(ConfigurationError, match=f"data_dir is needed for dataset {name}.*GREENSHIFT_DATA_DIR"):
        load_dataset(name)


@pytest.mark.parametrize("name", IN_FOLDERS)
def test_a_folder_that_is_missing_is_named(name, tmp_path):
    with pytest.raises(ConfigurationError, match=f"must be an existing folder, got {tmp_path}/absent"):
        load_dataset(name, str(tmp_path / "absent"))


@pytest.mark.parametrize("name", IN_FOLDERS)
def test_an_empty_folder_is_refused_in_one_line(name, tmp_path):
    with pytest.raises(ConfigurationError, match=r"data_dir.* must hold ") as error:
        load_dataset(name, str(tmp_path))

    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_only_cifar10_can_be_fetched(tmp_path):
    with pytest.raises(ConfigurationError, match="cifar10 only, got dataset digits"):
        fetch_dataset("digits", str(tmp_path))


def test_fetching_without_a_folder_is_refused():
    with pytest.raises(ConfigurationError, match="data_dir is needed for dataset cifar10"):
        fetch_dataset("cifar10", None)
