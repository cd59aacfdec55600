"""Which name means which network, and whether it takes the images of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from worker.errors import ConfigurationError
from worker.models.resnet import ResNet
from worker.models.torchvision_networks import smallest_side, torchvision_names, torchvision_network
from worker.models.vgg import DEPTHS, SmallVGG
from worker.plugins import load_plugin, plugin_names
from worker.spelling import did_you_mean

ImageShape = tuple[int, int, int]
# What building or running a network raises where it does not take images of a shape.
_REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError, ArithmeticError)


def _resnet(n_blocks: int, *, projection: bool) -> Callable[[ImageShape, int], nn.Module]:
    return lambda shape, n_classes: ResNet(n_blocks, (16, 32, 64), shape[0], n_classes, projection=projection)


def _vgg(depth: int) -> Callable[[ImageShape, int], nn.Module]:
    return lambda shape, n_classes: SmallVGG(depth, shape, n_classes)


NETWORKS: Mapping[str, Callable[[ImageShape, int], nn.Module]] = MappingProxyType(
    {
        "resnet8": _resnet(1, projection=True),
        **{f"resnet{6 * n + 2}": _resnet(n, projection=False) for n in (3, 5, 7, 9)},
        **{f"vgg{depth}-small": _vgg(depth) for depth in DEPTHS},
    }
)


def build_network(name: str, image_shape: ImageShape, n_classes: int) -> nn.Module:
    """A freshly initialised network for images of shape (channels, height, width).

    Raises:
        ConfigurationError: an unknown name, or a network that does not take such images.
    """
    if name in NETWORKS:
        return NETWORKS[name](image_shape, n_classes)
    if name in torchvision_names():
        build: Callable[[], nn.Module] = lambda: torchvision_network(name, image_shape, n_classes)  # noqa: E731
        smallest = smallest_side(name)
    elif (own := load_plugin("greenshift.networks", name)) is not None:
        build, smallest = lambda: own(image_shape, n_classes), None
    else:
        raise ConfigurationError(_unknown(name))
    try:
        model = build()
        logits = _run_once(model, image_shape)
    except ConfigurationError:
        raise
    except _REFUSALS as error:
        raise ConfigurationError(_refusal(name, image_shape, smallest, error)) from error
    if not isinstance(logits, Tensor) or logits.shape != (1, n_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigurationError(
            f"network {name} must give logits of shape (1, {n_classes}) for one image, got {shape}"
        )
    return model


def example_input(image_shape: ImageShape) -> Tensor:
    """One black image with a batch dimension, for tracing."""
    return torch.zeros(1, *image_shape)


def _run_once(model: nn.Module, image_shape: ImageShape) -> object:
    """What the network gives for one image; it is in training mode afterwards, as if it were new."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits: object = model.eval()(example_input(image_shape))
    model.train()
    return logits


def _unknown(name: str) -> str:
    own = plugin_names("greenshift.networks")
    installed = f" ({', '.join(own)})" if own else ""
    return (
        f"network must be one of {', '.join(NETWORKS)}, a classification network of torchvision such as resnet18, "
        f"or an entry point of greenshift.networks{installed}; got {name!r}"
        f"{did_you_mean(name, [*NETWORKS, *own, *torchvision_names()])}"
    )


def _refusal(name: str, image_shape: ImageShape, smallest: int | None, error: Exception) -> str:
    """One line: what does not fit, and which size of the data set would."""
    channels, height, width = image_shape
    reason = (str(error).splitlines() or [""])[0]
    images = f"{channels} x {height} x {width}"
    message = f"network {name} does not take images of {images}: {type(error).__name__}: {reason}"
    if smallest is not None and smallest > min(height, width):
        return f"{message}; it takes {smallest} x {smallest}: name the data set NAME@{smallest} to have images resized"
    return message
