from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.worker.data.originals import colour_digits, write_class_folders, write_image, write_tiny_imagenet
from worker.data import load_dataset
from worker.errors import ConfigurationError

# Tiny ImageNet


def test_tiny_imagenet_is_read_in_its_own_layout_with_val_as_the_test_part(tmp_path):
    write_tiny_imagenet(tmp_path, n_train=30, n_val=10)
    _, labels = colour_digits(40)

    tiny = load_dataset("tiny-imagenet", str(tmp_path))

    assert (tiny.image_shape, tiny.n_classes) == ((3, 64, 64), 3)
    assert (len(tiny.train) + len(tiny.validation), len(tiny.test)) == (30, 10)
    assert tiny.test.labels.tolist() == (labels[30:] % 3).tolist()


@pytest.mark.parametrize("missing", ["wnids.txt", "val/val_annotations.txt", "val/images/val_3.JPEG"])
def test_a_missing_file_of_tiny_imagenet_is_named(tmp_path, missing):
    write_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200" / missing).unlink()

    with pytest.raises(ConfigurationError, match=f"{missing}, which is missing in {tmp_path}/tiny-imagenet-200$"):
        load_dataset("tiny-imagenet", str(tmp_path))


def test_a_missing_class_of_tiny_imagenet_is_named(tmp_path):
    write_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200/wnids.txt").write_text("n09\nn01\nn05\nn77\n")

    with pytest.raises(ConfigurationError, match="train/n77/images, which is missing"):
        load_dataset("tiny-imagenet", str(tmp_path))


def test_an_annotation_of_an_unknown_class_is_named(tmp_path):
    write_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200/val/val_annotations.txt").write_text("val_0.JPEG\tn66\t0\t0\t1\t1\n")

    with pytest.raises(ConfigurationError, match=r"val_annotations\.txt: class n66 is not in .*wnids\.txt"):
        load_dataset("tiny-imagenet", str(tmp_path))


# Caltech-101


@pytest.mark.parametrize("above", [".", "caltech-101", "caltech101"])
def test_caltech101_is_read_without_its_background_and_a_test_part_is_cut(tmp_path, above):
    folder = tmp_path / above / "101_ObjectCategories"
    write_class_folders(folder, n=50, n_classes=2, suffix="jpg")
    write_image(folder / "BACKGROUND_Google" / "image_0001.jpg", np.zeros((3, 9, 9), np.uint8))
    counts = np.bincount(colour_digits(50)[1] % 2)

    caltech = load_dataset("caltech101@16", str(tmp_path))

    n_test = [round(0.2 * n) for n in counts]
    n_validation = [round(0.2 * (n - t)) for n, t in zip(counts, n_test, strict=True)]
    assert caltech.test.labels.bincount().tolist() == n_test
    assert caltech.validation.labels.bincount().tolist() == n_validation
    assert sum(map(len, (caltech.train, caltech.validation, caltech.test))) == 50
    assert caltech.image_shape == (3, 16, 16)


def test_a_missing_folder_of_caltech101_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=f"folder 101_ObjectCategories, missing in {tmp_path}$"):
        load_dataset("caltech101", str(tmp_path))


# Folders of one's own


def test_an_image_folder_with_three_parts_keeps_them(tmp_path):
    for part, n, first in (("train", 20, 0), ("val", 6, 20), ("test", 5, 26)):
        write_class_folders(tmp_path / "mine" / part, n, 3, first=first)

    mine = load_dataset("imagefolder:mine@32", str(tmp_path))

    images, labels = colour_digits(31)
    assert [len(s) for s in (mine.train, mine.validation, mine.test)] == [20, 6, 5]
    order = np.argsort(labels[:20] % 3, kind="stable")
    assert np.array_equal(mine.train.images, images[order])
    assert mine.train.labels.tolist() == (labels[:20] % 3)[order].tolist()


def test_an_image_folder_with_train_alone_is_cut_by_class(tmp_path):
    write_class_folders(tmp_path / "mine" / "train", 100, 2)

    mine = load_dataset("imagefolder:mine", str(tmp_path))

    assert mine.image_shape == (3, 64, 64)
    assert [len(s) for s in (mine.train, mine.validation, mine.test)] == [64, 16, 20]


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (7, 14)])
def test_an_image_is_scaled_by_its_shorter_side_and_cut_to_the_centre(tmp_path, height, width):
    # Left (or upper) half black, the other white: the centre keeps one half of each.
    image = np.zeros((3, height, width), np.uint8)
    image[:, height // 2 if height > width else 0 :, width // 2 if width > height else 0 :] = 255
    write_image(tmp_path / "mine/train/only/a.png", image)

    mine = load_dataset("imagefolder:mine@10", str(tmp_path))

    (square,) = mine.train.images.numpy()
    assert square.shape == (3, 10, 10)
    profile = square[0].mean(axis=1 if height > width else 0)
    assert profile[:4].max() < 5
    assert profile[-4:].min() > 250


def test_a_grey_image_becomes_a_colour_image(tmp_path):
    folder = tmp_path / "mine/train/only"
    folder.mkdir(parents=True)
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(folder / "grey.png")

    assert load_dataset("imagefolder:mine@8", str(tmp_path)).train.images.unique().tolist() == [77]


def test_a_broken_image_is_named(tmp_path):
    write_class_folders(tmp_path / "mine/train", 3, 1)
    (tmp_path / "mine/train/class_0/0001.png").write_bytes(b"no image")

    with pytest.raises(ConfigurationError, match=r"class_0/0001\.png is no image that can be read"):
        load_dataset("imagefolder:mine", str(tmp_path))


def test_a_truncated_image_is_named(tmp_path):
    write_class_folders(tmp_path / "mine/train", 3, 1)
    path = tmp_path / "mine/train/class_0/0001.png"
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(ConfigurationError, match=r"0001\.png is no image that can be read"):
        load_dataset("imagefolder:mine", str(tmp_path))


def test_a_folder_without_train_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()

    with pytest.raises(
        ConfigurationError, match=f"imagefolder:mine: data_dir must hold the folder mine/train: {tmp_path}"
    ):
        load_dataset("imagefolder:mine", str(tmp_path))


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "mine/train/empty").mkdir(parents=True)

    with pytest.raises(ConfigurationError, match="mine/train must hold a folder of images for each class"):
        load_dataset("imagefolder:mine", str(tmp_path))


def test_a_class_that_train_lacks_is_refused(tmp_path):
    write_class_folders(tmp_path / "mine/train", 10, 2)
    write_image(tmp_path / "mine/test/zebra/a.png", np.zeros((3, 8, 8), np.uint8))

    with pytest.raises(ConfigurationError, match=r"mine/test has the class zebra, which .*mine/train lacks"):
        load_dataset("imagefolder:mine", str(tmp_path))


@pytest.mark.parametrize("name", ["", "..", "../mine", "a/b", ".hidden", "/etc"])
def test_a_name_that_leaves_the_data_folder_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="must name a folder directly in data_dir"):
        load_dataset(f"imagefolder:{name}", str(tmp_path))
