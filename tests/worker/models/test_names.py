from __future__ import annotations

import pytest
import torch

from tests.worker.distributions import install
from worker.errors import ConfigurationError
from worker.models import NETWORKS, build_network, example_input

CODE = """
import torch
from torch import nn

def linear(image_shape, n_classes):
    channels, height, width = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, n_classes))

def blind(image_shape, n_classes):
    return nn.Linear(3, n_classes)

def wide(image_shape, n_classes):
    return linear(image_shape, n_classes + 1)

def pair(image_shape, n_classes):
    class Pair(nn.Module):
        def forward(self, images):
            return images, images
    return Pair()

def broken(image_shape, n_classes):
    raise KeyError("no such option")
"""
ENTRY_POINTS = "[greenshift.networks]\n" + "".join(
    f"{name} = my_networks:{target}\n"
    for name, target in [
        *((n, n) for n in ("linear", "blind", "wide", "pair", "broken")),
        ("resnet18", "linear"),
        ("resnet8", "linear"),
    ]
)


@pytest.fixture
def plugin(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path / "site", "my_networks", CODE, ENTRY_POINTS)


def test_an_unknown_network_is_refused_with_the_known_ones(plugin):
    with pytest.raises(ConfigurationError) as error:
        build_network("vgg99", (3, 32, 32), 10)

    assert "got 'vgg99'" in str(error.value)
    assert "torchvision such as resnet18" in str(error.value)
    assert "greenshift.networks (blind, broken, linear, pair, resnet18, resnet8, wide)" in str(error.value)
    assert all(name in str(error.value) for name in NETWORKS)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("resnet80", "resnet8"), ("resnet-20", "resnet20"), ("mobilenetv2", "mobilenet_v2"), ("perceptron", None)],
)
def test_the_network_that_was_meant_is_guessed(name, meant):
    with pytest.raises(ConfigurationError) as error:
        build_network(name, (3, 32, 32), 10)

    assert str(error.value).endswith(f"got {name!r}" if meant is None else f"got {name!r} (did you mean {meant}?)")


@pytest.mark.parametrize("name", ["resnet8", "vgg11-small", "shufflenet_v2_x0_5"])
def test_two_networks_of_one_seed_are_equal(name):
    torch.manual_seed(3)
    ours = build_network(name, (1, 16, 16), 10).state_dict()
    torch.manual_seed(3)
    theirs = build_network(name, (1, 16, 16), 10).state_dict()

    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_example_input_is_one_image():
    assert example_input((3, 8, 9)).shape == (1, 3, 8, 9)


def test_a_network_of_the_users_own_is_built_for_the_images(plugin):
    model = build_network("linear", (3, 4, 5), 7)

    assert model(torch.zeros(2, 3, 4, 5)).shape == (2, 7)
    assert model.training


@pytest.mark.parametrize(("name", "n_parameters"), [("resnet8", 77_850), ("resnet18", 11_181_642)])
def test_names_of_ours_and_of_torchvision_outrank_entry_points(plugin, name, n_parameters):
    assert sum(p.numel() for p in build_network(name, (3, 32, 32), 10).parameters()) == n_parameters


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blind", "network blind does not take images of 1 x 8 x 8: RuntimeError: mat1 and mat2"),
        ("broken", "network broken does not take images of 1 x 8 x 8: KeyError: 'no such option'"),
        ("wide", r"network wide must give logits of shape \(1, 10\) for one image, got \(1, 11\)"),
        ("pair", "must give logits of shape .* got tuple"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(plugin, name, message):
    with pytest.raises(ConfigurationError, match=message):
        build_network(name, (1, 8, 8), 10)
