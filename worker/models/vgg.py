"""VGG with batch normalisation for small images."""

from __future__ import annotations

from types import MappingProxyType

from torch import Tensor, nn

# Convolutions in each of five blocks (Simonyan and Zisserman, 2015, table 1: A, B, D, E).
DEPTHS = MappingProxyType({11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)})
_WIDTHS = (64, 128, 256, 512, 512)


class SmallVGG(nn.Module):
    """The convolutions of VGG, each with batch normalisation, then global average pooling and one linear layer.

    Of the original's three linear layers one is left, so vgg16 has 14 layers here. Every block ends in a pool that
    halves the image; where the image has fewer than four pixels on a side before the last block, the pool is left
    out, so that batch normalisation always sees at least four values. Images of 32 x 32 pixels are halved five times.

    Args:
        depth: 11, 13, 16 or 19.
        image_shape: channels, height, width, from 1 x 1 pixels.
        n_classes: outputs.

    Input (batch, *image_shape), output logits (batch, n_classes).
    """

    def __init__(self, depth: int, image_shape: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        before, *sides = image_shape
        side = min(sides)
        layers: list[nn.Module] = []
        for block, (n_layers, width) in enumerate(zip(DEPTHS[depth], _WIDTHS, strict=True)):
            for _ in range(n_layers):
                layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                before = width
            if side >= (2 if block == len(_WIDTHS) - 1 else 4):
                layers.append(nn.MaxPool2d(2))
                side //= 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(before, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits
