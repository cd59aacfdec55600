"""Looking at and waiting for processes, within limits."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GREENSHIFT = [sys.executable, "-c", "from service.cli import main; main()"]


def descendants(pid: int) -> list[int]:
    """All processes that come from `pid`."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    left = [pid]
    while left:
        ours = children.get(left.pop(), [])
        found += ours
        left += ours
    return found


def have_ended(pids: Iterable[int], seconds: float) -> bool:
    """Whether all these processes end within `seconds`."""
    end = time.monotonic() + seconds
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        readable, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
        os.close(descriptor)
        if not readable:
            return False
    return True


def greenshift(*arguments: str, cwd: Path | None = None, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, without colours and without a data folder."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GREENSHIFT_DATA_DIR", "FORCE_COLOR")}
    return subprocess.run(
        [*GREENSHIFT, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=seconds,
        check=False,
    )
