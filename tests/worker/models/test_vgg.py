from __future__ import annotations

import pytest
import torch
from torch import nn

from shiftlayers import shiftable_layers
from worker.models import build_network, example_input


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_a_vgg_has_the_convolutions_of_its_paper_and_one_linear_layer(depth):
    with torch.device("meta"):
        model = build_network(f"vgg{depth}-small", (3, 32, 32), 10)
        names = shiftable_layers(model, example_input((3, 32, 32)))

    assert len(names) == depth - 2
    assert names[-1] == "head"


@pytest.mark.parametrize(
    ("shape", "n_pools"),
    [
        ((3, 32, 32), 5),
        ((1, 8, 8), 3),
        ((1, 28, 28), 4),
        ((3, 64, 64), 5),
        ((3, 9, 13), 3),
        ((1, 2, 2), 1),
        ((1, 1, 1), 0),
    ],
)
def test_pools_that_no_longer_fit_are_left_out(shape, n_pools):
    model = build_network("vgg11-small", shape, 7).eval()

    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == n_pools
    with torch.no_grad():
        assert model(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("side", [8, 16, 28])
def test_a_vgg_trains_on_a_single_image(side):
    model = build_network("vgg11-small", (1, side, side), 7)

    assert model(torch.randn(1, 1, side, side)).isfinite().all()
