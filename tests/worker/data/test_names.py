from __future__ import annotations

import pytest

from tests.worker.distributions import install
from worker.data import dataset_names, load_dataset
from worker.errors import ConfigurationError

OURS = ["digits", "fashion-mnist", "mnist", "cifar10", "cifar100", "svhn", "tiny-imagenet", "caltech101"]
CODE = """
from pathlib import Path

import numpy as np

from worker.data import DataSource, RawData

def stripes(data_dir):
    images = np.zeros((40, 1, 4, 6), np.uint8)
    images[::2, :, ::2] = 255
    return RawData((images, np.arange(40) % 2))

def from_folder(data_dir):
    with (Path(data_dir) / "calls").open("a") as file:
        file.write("x")
    return stripes(data_dir)

stored = DataSource(from_folder, files=lambda data_dir: [Path(data_dir) / "file"], augmentation=("crop",))
number = 3
def wrong(data_dir):
    return [1, 2]
"""
ENTRY_POINTS = """[greenshift.datasets]
stripes = my_data:stripes
stored = my_data:stored
number = my_data:number
wrong = my_data:wrong
gone = my_data:gone
digits = my_data:stripes
"""


@pytest.fixture
def plugin(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path / "site", "my_data", CODE, ENTRY_POINTS)


def test_the_names_are_ours_and_then_those_of_entry_points(plugin):
    assert dataset_names() == [*OURS, "gone", "number", "stored", "stripes", "wrong"]


def test_a_function_of_the_users_own_is_a_data_set(plugin):
    mine = load_dataset("stripes")

    assert (mine.name, mine.image_shape, mine.n_classes, mine.augmentation) == ("stripes", (1, 4, 6), 2, ())
    assert [len(s) for s in (mine.train, mine.validation, mine.test)] == [26, 6, 8]


def test_a_data_set_of_the_users_own_can_be_resized(plugin):
    assert load_dataset("stripes@8").image_shape == (1, 8, 8)


def test_a_source_that_names_its_files_is_read_once(plugin, tmp_path):
    (tmp_path / "file").write_text("content")

    first = load_dataset("stored", str(tmp_path))
    second = load_dataset("stored", f"{tmp_path}/")

    assert first is not second
    assert (tmp_path / "calls").read_text() == "x"
    assert first.augmentation == ("crop",)


def test_a_name_of_ours_outranks_an_entry_point(plugin):
    assert load_dataset("digits").image_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "greenshift.datasets 'gone': my_data:gone cannot be loaded"),
        ("number", "'number' must be a function or a DataSource, got 3"),
        ("wrong", "'wrong' must give RawData, got list"),
    ],
)
def test_an_entry_point_of_another_kind_is_refused(plugin, name, message):
    with pytest.raises(ConfigurationError, match=message):
        load_dataset(name)


def test_two_entry_points_of_one_name_are_refused(plugin, monkeypatch, tmp_path):
    install(monkeypatch, tmp_path / "other", "other_data", "", "[greenshift.datasets]\nstripes = other_data:x\n")

    with pytest.raises(ConfigurationError, match=r"2 entry points 'stripes': (my|other)_data:.*, (my|other)_data:"):
        load_dataset("stripes")


@pytest.mark.parametrize(
    ("name", "guess"),
    [("coco", ""), ("imagenet", " (did you mean tiny-imagenet?)"), ("cifar-10@16", " (did you mean cifar10?)")],
)
def test_an_unknown_data_set_is_refused_with_the_known_ones(name, guess):
    with pytest.raises(ConfigurationError) as error:
        load_dataset(name)

    assert str(error.value) == f"dataset must be one of {', '.join(OURS)}, imagefolder:NAME; got {name!r}{guess}"


@pytest.mark.parametrize("name", ["digits@", "digits@0", "digits@1025", "digits@-3", "digits@big", "digits@8@9"])
def test_a_size_that_is_none_is_refused(name):
    with pytest.raises(ConfigurationError, match="needs a size of 1 to 1024 pixels"):
        load_dataset(name)


def test_a_data_set_can_be_asked_for_in_another_size():
    large, plain = load_dataset("digits@24"), load_dataset("digits")

    assert large.image_shape == (1, 24, 24)
    assert large.test.labels.tolist() == plain.test.labels.tolist()
