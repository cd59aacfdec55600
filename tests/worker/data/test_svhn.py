from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from tests.worker.data.originals import colour_digits, write_svhn
from worker.data import load_dataset
from worker.errors import ConfigurationError


@pytest.mark.parametrize("subfolder", [".", "svhn"])
def test_svhn_is_read_from_the_folder_or_its_subfolder_and_ten_is_zero(tmp_path, subfolder):
    write_svhn(tmp_path / subfolder, n=40)
    images, labels = colour_digits(80)

    svhn = load_dataset("svhn", str(tmp_path))

    assert np.array_equal(svhn.test.images, images[40:])
    assert svhn.test.labels.tolist() == labels[40:].tolist()
    assert (svhn.n_classes, svhn.image_shape) == (10, (3, 32, 32))


def test_a_missing_file_of_svhn_is_named(tmp_path):
    write_svhn(tmp_path)
    (tmp_path / "test_32x32.mat").unlink()

    with pytest.raises(ConfigurationError, match=rf"svhn: .*test_32x32\.mat, which is missing in {tmp_path}$"):
        load_dataset("svhn", str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no MATLAB", b"\0" * 200])
def test_another_file_is_no_file_of_svhn(tmp_path, content):
    write_svhn(tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"train_32x32\.mat is no file of SVHN"):
        load_dataset("svhn", str(tmp_path))


def test_a_file_without_labels_is_no_file_of_svhn(tmp_path):
    write_svhn(tmp_path)
    savemat(tmp_path / "train_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8)})

    with pytest.raises(ConfigurationError, match="is no file of SVHN's cropped digits: 'y'"):
        load_dataset("svhn", str(tmp_path))
