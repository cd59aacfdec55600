"""Memory of processes as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def resident_bytes(pid: int) -> int | None:
    """Resident size of process `pid` in bytes; None where it is gone or the system does not tell."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def n_memory_kills(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """How many processes of our control group the kernel has killed for want of memory; None where it does not tell."""
    try:
        groups = [line.split(":", 2)[1:] for line in (proc / "self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    for controllers, path in groups:
        inside = path.lstrip("/")
        if controllers == "":
            candidates = [cgroups / inside / "memory.events", cgroups / "memory.events"]
        elif "memory" in controllers.split(","):
            candidates = [cgroups / "memory" / inside / "memory.oom_control", cgroups / "memory/memory.oom_control"]
        else:
            continue
        # In a container the path is the host's, and our own group is mounted at the top.
        for candidate in candidates:
            count = _count(candidate)
            if count is not None:
                return count
    return None


def _count(path: Path) -> int | None:
    try:
        fields = dict(line.split() for line in path.read_text().splitlines())
        return int(fields["oom_kill"])
    except (OSError, KeyError, ValueError):
        return None
