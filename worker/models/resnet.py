"""ResNets for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResNet(nn.Module):
    """A residual network for small images (He et al., 2016, section 4.2): a stem, three stages, one linear layer.

    Args:
        n_blocks: residual blocks of two convolutions in each stage.
        widths: channels of the three stages; the second and third halve the image.
        in_channels: of the images.
        n_classes: outputs.
        projection: shortcuts that change shape are 1x1 convolutions (ResNet-8 of MLPerf Tiny, 10 layers); else
            they subsample and pad with zeros (option A of the paper, ResNet-20 has 20 layers).

    Input (batch, in_channels, height, width), output logits (batch, n_classes).
    """

    def __init__(
        self,
        n_blocks: int,
        widths: tuple[int, int, int],
        in_channels: int,
        n_classes: int,
        *,
        projection: bool,
    ) -> None:
        super().__init__()
        self.stem = _conv3x3(in_channels, widths[0], stride=1)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        blocks: list[nn.Module] = []
        before = widths[0]
        for stage, width in enumerate(widths):
            for block in range(n_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(_Block(before, width, stride, projection=projection))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(images)))
        x = self.blocks(x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, before: int, width: int, stride: int, *, projection: bool) -> None:
        super().__init__()
        self.conv1 = _conv3x3(before, width, stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(before, width, stride, projection=projection)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class _SubsampleAndPad(nn.Module):
    """Shortcut without weights: every second pixel, missing channels zero."""

    def __init__(self, stride: int, n_new_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.n_new_channels = n_new_channels

    def forward(self, x: Tensor) -> Tensor:
        half = self.n_new_channels // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, half, self.n_new_channels - half))


def _conv3x3(before: int, width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)


def _shortcut(before: int, width: int, stride: int, *, projection: bool) -> nn.Module:
    if before == width and stride == 1:
        return nn.Identity()
    if projection:
        return nn.Conv2d(before, width, 1, stride=stride, bias=False)
    return _SubsampleAndPad(stride, width - before)
