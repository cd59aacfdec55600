from __future__ import annotations

import pytest
import torch

from shiftlayers import shiftable_layers
from worker.models import build_network, example_input


@pytest.mark.parametrize(
    ("name", "n_layers"), [("resnet8", 10), ("resnet20", 20), ("resnet32", 32), ("resnet44", 44), ("resnet56", 56)]
)
def test_a_network_has_as_many_layers_as_its_paper_counts(name, n_layers):
    model = build_network(name, (3, 32, 32), 10)

    assert len(shiftable_layers(model, example_input((3, 32, 32)))) == n_layers
    assert len(shiftable_layers(model)) == n_layers


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)])
@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
def test_a_network_gives_one_logit_a_class(name, shape):
    assert build_network(name, shape, 7)(torch.randn(2, *shape)).shape == (2, 7)


def test_resnet20_has_the_parameters_of_its_paper():
    n_parameters = sum(p.numel() for p in build_network("resnet20", (3, 32, 32), 10).parameters())

    assert n_parameters == 269_722
