"""Every classification network of torchvision, from random weights.

Nothing is adapted in silence: images keep their size, and a network that cannot take it is refused. Two things are
made to measure, because the network does not exist without them: vision transformers and MaxViT are built for the
size of the images, and the first convolution of a network for grey images is torchvision's, its weights summed over
the colours, which computes what the same network computes on the grey image repeated three times.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from worker.errors import ConfigurationError

logger = logging.getLogger(__name__)

# Auxiliary classifiers would make a network give several outputs while it trains.
_SINGLE_OUTPUT = {"aux_logits": False, "init_weights": True}


def torchvision_names() -> list[str]:
    """Of torchvision's classification networks."""
    from torchvision import models  # slow to import: networks of ours do without

    return list(models.list_models(module=models))


def torchvision_network(name: str, image_shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    """Torchvision's network `name` for `n_classes` classes of images of shape (channels, height, width).

    Raises:
        ConfigurationError: neither grey nor colour images.
    """
    from torchvision import models

    channels, height, width = image_shape
    if channels not in (1, 3):
        raise ConfigurationError(f"network {name} takes grey or colour images, got {channels} channels")
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = _SINGLE_OUTPUT
    elif name.startswith("vit_"):
        options = {"image_size": height}
    elif name.startswith("maxvit_"):
        options = {"input_size": (height, width)}
    model: nn.Module = models.get_model(name, weights=None, num_classes=n_classes, **options)
    if channels == 1:
        _take_grey_images(model, name)
    return model


def smallest_side(name: str) -> int | None:
    """Pixels on a side that the network is known to take, from torchvision's notes on its trained weights."""
    from torchvision import models

    return min((max(weights.meta["min_size"]) for weights in models.get_model_weights(name)), default=None)


def _take_grey_images(model: nn.Module, name: str) -> None:
    first_name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    grey = nn.Conv2d(
        1,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    with torch.no_grad():
        grey.weight.copy_(first.weight.sum(dim=1, keepdim=True))
        if first.bias is not None and grey.bias is not None:
            grey.bias.copy_(first.bias)
    model.set_submodule(first_name, grey)
    logger.info("network %s: its first convolution %s takes one channel, for grey images", name, first_name)
