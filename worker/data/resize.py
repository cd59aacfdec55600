"""Square images of another size than a data set's own, where its name asks for them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from worker.data.raw import Images, Part, RawData

_CHUNK = 256


def resize(raw: RawData, size: int) -> RawData:
    """All parts with images scaled (bilinear) so that the shorter side has `size` pixels, then cut to the centre."""
    parts = (raw.train, raw.validation, raw.test)
    train, validation, test = (None if part is None else _resize_part(part, size) for part in parts)
    assert train is not None
    return RawData(train, validation, test)


def _resize_part(part: Part, size: int) -> Part:
    images, labels = part
    n, channels, height, width = images.shape
    scale = size / min(height, width)
    large = max(size, round(height * scale)), max(size, round(width * scale))
    top, left = (large[0] - size) // 2, (large[1] - size) // 2
    resized: Images = np.empty((n, channels, size, size), np.uint8)
    for start in range(0, n, _CHUNK):
        chunk = torch.from_numpy(images[start : start + _CHUNK].astype(np.float32))
        scaled = F.interpolate(chunk, large, mode="bilinear", antialias=True).round().clamp(0, 255)
        resized[start : start + _CHUNK] = scaled[:, :, top : top + size, left : left + size].to(torch.uint8).numpy()
    return resized, labels
