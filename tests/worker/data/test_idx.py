from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.data.originals import idx, write_idx
from worker import data
from worker.data import load_dataset, read_idx
from worker.errors import ConfigurationError

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


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


@pytest.mark.parametrize("subfolder", [".", "fashion-mnist", "FashionMNIST/raw"])
def test_fashion_mnist_is_read_from_the_folder_or_its_subfolders(tmp_path, subfolder):
    write_idx(tmp_path / subfolder)

    dataset = load_dataset("fashion-mnist", str(tmp_path))

    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [80, 20, 30]
    assert dataset.test.labels.tolist() == [n % 10 for n in range(30)]
    assert dataset.augmentation == ()


@pytest.mark.parametrize("subfolder", ["mnist", "MNIST/raw"])
def test_mnist_is_read_from_its_subfolders(tmp_path, subfolder):
    write_idx(tmp_path / subfolder)

    dataset = load_dataset("mnist", str(tmp_path))

    assert dataset.image_shape == (1, 28, 28)
    assert np.array_equal(dataset.test.images[:, 0], read_idx(tmp_path / subfolder, "t10k-images-idx3-ubyte"))


def test_files_that_may_be_fashion_mnists_are_not_taken_for_mnist(tmp_path):
    write_idx(tmp_path)

    with pytest.raises(ConfigurationError, match=f"dataset mnist: data_dir must hold the folder mnist.* {tmp_path}$"):
        load_dataset("mnist", str(tmp_path))


@pytest.mark.skipif(
    not FASHION_MNIST.is_dir(),
    reason=f"REAL DATA NOT TESTED: {FASHION_MNIST} is missing (apt-get install dataset-fashion-mnist)",
)
def test_the_real_fashion_mnist_loads(tmp_path):
    (tmp_path / "fashion-mnist").symlink_to(FASHION_MNIST)

    dataset = load_dataset("fashion-mnist", str(tmp_path))
    data._load.cache_clear()

    assert dataset.train.images.shape == (48_000, 1, 28, 28)
    assert dataset.validation.labels.bincount().tolist() == [1200] * 10
    assert dataset.test.labels.bincount().tolist() == [1000] * 10
    pixels = dataset.train.images.double()
    assert dataset.train.mean.item() == pytest.approx(pixels.mean().item(), rel=1e-6)
    assert dataset.train.deviation.item() == pytest.approx(pixels.std(correction=0).item(), rel=1e-6)
    assert dataset.train.batch(torch.arange(8)).dtype == torch.float32
