"""Which GPU a process runs on, as NVML names it: NVML itself knows nothing of CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence


def visible_gpus(gpus: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """UUIDs that CUDA_VISIBLE_DEVICES lets through, in its order.

    Entries are numbers in the order of the PCI bus, UUIDs or beginnings of one, or MIG slices, which are given back
    as they are spelt. As in CUDA, the first entry that names nothing hides itself and all that follow.

    Args:
        gpus: all UUIDs of the machine, in NVML's order.
        environment: holds the variable; without it every GPU is visible, and an empty one shows none.
    """
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(gpus)
    found: list[str] = []
    for entry in (part.strip() for part in wanted.split(",")):
        uuid = _find(entry, gpus)
        if uuid is None:
            break
        found.append(uuid)
    return found


def find_gpu(gpus: Sequence[str], ordinal: int = 0, environment: Mapping[str, str] = os.environ) -> str | None:
    """UUID of the GPU that CUDA would number `ordinal`; None where that cannot be told.

    Without the variable CUDA may number several GPUs in another order than NVML, so that only a single one is sure,
    unless CUDA_DEVICE_ORDER says PCI_BUS_ID.
    """
    visible = visible_gpus(gpus, environment)
    is_sure = len(gpus) <= 1 or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    names_one = "CUDA_VISIBLE_DEVICES" in environment
    return visible[ordinal] if ordinal < len(visible) and (is_sure or names_one) else None


def _find(entry: str, gpus: Sequence[str]) -> str | None:
    if entry.startswith("MIG-"):
        return entry
    if entry.isdecimal():
        return gpus[int(entry)] if int(entry) < len(gpus) else None
    matches = [uuid for uuid in gpus if entry and uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None
