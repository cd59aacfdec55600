"""Networks by name: ours for small images, every classification network of torchvision, and the user's own.

| name | network |
|---|---|
| `resnet8` | ResNet-8 of MLPerf Tiny, 10 layers |
| `resnet20`, `resnet32`, `resnet44`, `resnet56` | ResNets of He et al. for small images |
| `vgg11-small`, `vgg13-small`, `vgg16-small`, `vgg19-small` | VGG with batch normalisation for small images |
| any name of `torchvision.models.list_models(torchvision.models)` | torchvision's, from random weights: `vgg16`, ... |
| an entry point of the group `greenshift.networks` | `(image_shape, n_classes) -> nn.Module`, of your own |

A name of ours outranks torchvision's, which outranks an entry point; no two of ours and torchvision's are equal.
"""

from __future__ import annotations

from worker.models.names import NETWORKS, build_network, example_input
from worker.models.weights import load_weights

__all__ = ["NETWORKS", "build_network", "example_input", "load_weights"]
