from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.worker.data.originals import colour_digits
from worker.data import RawData
from worker.data.resize import resize


@pytest.mark.parametrize("size", [16, 48])
def test_images_are_resized_as_pillow_does(size):
    part = colour_digits(300)

    resized = resize(RawData(part, test=part), size)

    theirs = [np.asarray(Image.fromarray(i.transpose(1, 2, 0)).resize((size, size), 2)) for i in part[0][-3:]]
    for images, labels in (resized.train, resized.test):
        assert (images.shape, images.dtype) == ((300, 3, size, size), np.uint8)
        assert np.abs(images[-3:].astype(int) - np.stack(theirs).transpose(0, 3, 1, 2)).max() <= 1
        assert labels is part[1]
    assert resized.validation is None


def test_an_oblong_image_is_cut_to_its_centre():
    images = np.zeros((1, 1, 4, 12), np.uint8)
    images[..., 4:8] = 200

    (squares, _) = resize(RawData((images, np.zeros(1, int))), 4).train

    assert np.array_equal(squares, np.full((1, 1, 4, 4), 200))
