"""Which device a trial runs on, and which GPU NVML must read for it."""

from __future__ import annotations

import torch


def pick_device() -> torch.device:
    """The first visible GPU, or the CPU where there is none."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def gpu_uuid(device: torch.device) -> str:
    """UUID of `device` as NVML spells it.

    NVML ignores CUDA_VISIBLE_DEVICES and may number GPUs differently, so an index must never be used.
    """
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def describe(device: torch.device) -> str:
    """The device's name for people, such as `NVIDIA H100 80GB HBM3` or `CPU and memory`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU and memory"


def synchronize(device: torch.device) -> None:
    """Waits until all work given to `device` is done, so that it is inside the window being measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
