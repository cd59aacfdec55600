from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torchvision import models

from shiftlayers import shiftable_layers
from worker.errors import ConfigurationError
from worker.models import NETWORKS, build_network, example_input

# Images that a network takes, where 32 x 32 pixels are too few.
LARGER = {"alexnet": 63, "inception_v3": 75, "maxvit_t": 224, "vit_h_14": 56}


@pytest.fixture
def unset_weights(monkeypatch):
    """Weights as memory happens to hold them: quick, and what no test here looks at."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_", "trunc_normal_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_args, **_options: tensor)


def facts(name: str, shape: tuple[int, int, int]) -> tuple[int, tuple[int, ...]]:
    """Number of shiftable layers, and the shape of the head's weights."""
    model = build_network(name, shape, 7)
    layers = shiftable_layers(model, example_input(shape))
    return len(layers), tuple(model.get_submodule(layers[-1]).weight.shape)


def test_no_name_of_ours_is_torchvisions():
    assert not set(NETWORKS) & set(models.list_models(module=models))


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_classification_network_takes_our_images(unset_weights, name):
    side = LARGER.get(name, 32)

    n_layers, head = facts(name, (3, side, side))

    assert n_layers > 5
    assert head[0] == 7


@pytest.mark.parametrize(
    ("name", "n_layers"),
    [("resnet18", 21), ("squeezenet1_1", 26), ("vgg11_bn", 11), ("shufflenet_v2_x0_5", 57), ("vit_b_32", 26)],
)
def test_a_network_of_torchvision_takes_small_images(unset_weights, name, n_layers):
    assert facts(name, (3, 32, 32))[0] == n_layers


@pytest.mark.parametrize(
    ("name", "side", "remedy"),
    [("inception_v3", 32, 75), ("alexnet", 32, 63), ("maxvit_t", 64, 224), ("vit_b_16", 28, 224)],
)
def test_images_that_are_too_small_are_refused_in_one_line_with_a_size_that_fits(unset_weights, name, side, remedy):
    message = rf"network {name} does not take images of 3 x {side} x {side}: .* it takes {remedy} .*NAME@{remedy}"

    with pytest.raises(ConfigurationError, match=message) as error:
        build_network(name, (3, side, side), 10)

    assert "\n" not in str(error.value)


def test_a_network_with_auxiliary_classifiers_has_one_output_while_it_trains(unset_weights):
    model = build_network("googlenet", (3, 32, 32), 7)

    assert model.training
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_a_grey_image_counts_as_its_threefold_repetition(name, caplog):
    caplog.set_level(logging.INFO)
    torch.manual_seed(4)
    grey = build_network(name, (1, 32, 32), 7).eval()
    torch.manual_seed(4)
    colour = build_network(name, (3, 32, 32), 7).eval()
    images = torch.randn(2, 1, 32, 32)

    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(2, 3, 32, 32)), rtol=1e-3, atol=1e-4)
    assert f"network {name}: its first convolution" in caplog.text


def test_images_neither_grey_nor_of_three_colours_are_refused():
    with pytest.raises(ConfigurationError, match="resnet18 takes grey or colour images, got 4 channels"):
        build_network("resnet18", (4, 32, 32), 7)
