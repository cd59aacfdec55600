from __future__ import annotations

import pickle

import pytest
from sklearn.datasets import load_digits

from tests.worker.data.originals import colour_digits, write_cifar100
from worker.data import load_dataset
from worker.errors import ConfigurationError


def test_cifar10_is_read_in_its_own_format(cifar_folder):
    cifar = load_dataset("cifar10", str(cifar_folder))

    assert (cifar.image_shape, cifar.n_classes, cifar.augmentation) == ((3, 32, 32), 10, ("flip", "translate"))
    assert len(cifar.train) + len(cifar.validation) == 1250
    assert len(cifar.validation) == pytest.approx(250, abs=5)
    assert cifar.test.images.shape == (250, 3, 32, 32)
    assert cifar.test.labels.tolist() == load_digits().target[1250:1500].tolist()


def test_cifar100_is_read_with_its_fine_labels(tmp_path):
    write_cifar100(tmp_path, n=60)
    images, labels = colour_digits(120)

    cifar = load_dataset("cifar100", str(tmp_path))

    assert (cifar.test.images.numpy() == images[60:]).all()
    assert cifar.test.labels.tolist() == (labels[60:] * 11).tolist()
    assert (len(cifar.train) + len(cifar.validation), cifar.n_classes) == (60, 100)


def test_a_missing_batch_is_named_with_its_remedy(tmp_path):
    with pytest.raises(ConfigurationError, match=f"cifar-10-batches-py/data_batch_1.*{tmp_path}.*--download"):
        load_dataset("cifar10", str(tmp_path))


def test_a_missing_file_of_cifar100_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=f"cifar-100-python/train, which is missing in {tmp_path}$"):
        load_dataset("cifar100", str(tmp_path))


class Malice:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps({}), pickle.dumps({b"labels": [1], b"data": 3}), pickle.dumps(Malice())]
)
def test_another_file_is_no_batch_and_runs_no_code(tmp_path, capsys, content):
    write_cifar100(tmp_path)
    (tmp_path / "cifar-100-python/train").write_bytes(content)

    with pytest.raises(ConfigurationError, match="cifar-100-python/train is no batch of CIFAR"):
        load_dataset("cifar100", str(tmp_path))
    assert capsys.readouterr().out == ""
