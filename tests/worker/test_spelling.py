from __future__ import annotations

import pytest

from worker.spelling import did_you_mean


@pytest.mark.parametrize(
    ("name", "meant"),
    [("digitz", "digits"), ("ResNet-8", "resnet8"), ("resnet80", "resnet8"), ("fashion", None), (3, None)],
)
def test_the_nearest_name_is_guessed_where_one_is_near(name, meant):
    guess = did_you_mean(name, ["digits", "resnet8", "Cifar10"])

    assert guess == ("" if meant is None else f" (did you mean {meant}?)")
