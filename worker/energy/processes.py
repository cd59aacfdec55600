"""Whose work it is: processes on the GPU, and processor seconds of this process with its children."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

# Inode of the kernel's first process namespace, PROC_PID_INIT_INO in include/linux/proc_ns.h.
_FIRST_NAMESPACE = "pid:[4026531836]"
_BUSY = ("user", "nice", "system", "irq", "softirq")


@dataclass(frozen=True)
class CpuSeconds:
    """Processor seconds since the start: of this process with its children, and of all that the machine did."""

    own: float
    host: float

    def since(self, earlier: CpuSeconds) -> CpuSeconds:
        """What was added after `earlier`, never negative."""
        return CpuSeconds(max(0.0, self.own - earlier.own), max(0.0, self.host - earlier.host))

    @property
    def share(self) -> float | None:
        """Part of the machine's work that was ours, 0..1; None where it did none."""
        return min(1.0, self.own / self.host) if self.host > 0 else None


def cpu_seconds() -> CpuSeconds:
    """Processor seconds until now; children that have ended count through their parent."""
    process = psutil.Process()
    own = 0.0
    for member in (process, *process.children(recursive=True)):
        try:
            times = member.cpu_times()
        except psutil.Error:
            continue
        own += times.user + times.system + times.children_user + times.children_system
    host = psutil.cpu_times()
    return CpuSeconds(own, sum(getattr(host, name, 0.0) for name in _BUSY))


def is_exclusive(pids: Iterable[int] | None) -> bool | None:
    """Whether only this process, its children and its parents are among those on a GPU; None cannot be told.

    In a container the numbers are those of another namespace: there, one process is likely ours and two are not.
    """
    if pids is None:
        return None
    found = set(pids)
    if not found:
        return True
    if not _numbers_are_ours():
        return False if len(found) > 1 else None
    return found <= _family()


def _family() -> set[int]:
    process = psutil.Process()
    return {os.getpid(), *(p.pid for p in process.parents()), *(p.pid for p in process.children(recursive=True))}


def _numbers_are_ours() -> bool:
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _FIRST_NAMESPACE
    except OSError:
        return False
