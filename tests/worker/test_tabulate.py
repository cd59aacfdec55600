from __future__ import annotations

from typing import get_args

import pytest
import torch

from worker.families import convert, deployment_cost
from worker.models import build_network
from worker.schema import QuantizerName, Recipe, TrialSpec
from worker.tabulate import deployment_table

SHAPES = {"resnet8": (1, 8, 8), "resnet20": (3, 32, 32), "mobilenet_v2": (3, 32, 32)}


class OfShape:
    def __init__(self, image_shape):
        self.image_shape = image_shape


@pytest.mark.parametrize("network", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_the_table_tells_what_the_converted_network_costs(network, seed):
    data = OfShape(SHAPES[network])
    table = deployment_table(build_network(network, data.image_shape, 10), data.image_shape)
    random = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=random))

    for family in ("shift", "int8", "float"):
        quantizer = get_args(QuantizerName)[draw(0, 4)]
        recipe = Recipe(
            quantizer=quantizer,
            weight_bits=draw(2, 8) if quantizer in ("deepshift-q", "deepshift-ps", "apot") else 3,
            activation_integer_bits=draw(1, 32),
            activation_fraction_bits=draw(0, 32),
        )
        depth = draw(0, len(table.macs) - 1)
        spec = TrialSpec(
            study_id="s", trial_id="1", dataset="d", network=network, recipe=recipe, family=family, shift_depth=depth,
            epochs=1,
        )  # fmt: skip
        model = convert(build_network(network, data.image_shape, 10), spec, depth, data)
        assert table.joules(
            family,
            depth,
            quantizer=recipe.quantizer,
            weight_bits=recipe.weight_bits,
            activation_bits=recipe.activation_integer_bits + recipe.activation_fraction_bits,
        ) == pytest.approx(deployment_cost(model, family, data.image_shape).total_joules, rel=1e-9)


def test_a_depth_that_the_network_does_not_have_is_refused():
    table = deployment_table(build_network("resnet8", (1, 8, 8), 10), (1, 8, 8))
    with pytest.raises(IndexError):
        table.joules("shift", 11, quantizer="deepshift-q", weight_bits=4, activation_bits=8)
