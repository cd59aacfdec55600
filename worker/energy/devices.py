"""Which device a trial runs on, and which GPU NVML must read for it."""

from __future__ import annotations

import torch

from worker.energy.nvml import list_gpus
from worker.energy.visible import find_gpu


def pick_device() -> torch.device:
    """The first visible GPU, or the CPU where there is none."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def gpu_uuid(device: torch.device) -> str:
    """UUID of `device` as NVML spells it; `unknown` where neither torch nor the environment can tell.

    NVML ignores CUDA_VISIBLE_DEVICES and may number GPUs differently, so torch's own UUID comes first.
    """
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{uuid}" if uuid is not None else find_gpu(list_gpus(), device.index or 0) or "unknown"


def describe(device: torch.device) -> str:
    """The device's name for people, such as `NVIDIA H100 80GB HBM3` or `CPU and memory`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU and memory"


def synchronize(device: torch.device) -> None:
    """Waits until all work given to `device` is done, so that it is inside the window being measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
