"""Ends with 0 where every worker of `greenshift worker` answers: the health check of its image.

Usage: health.py [PID]   of that command; default the one that the container runs, whether or not an init is before it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from urllib.request import urlopen

import psutil

_SECONDS = 3.0


def main() -> int:
    """The exit code."""
    command = psutil.Process(int(sys.argv[1])) if len(sys.argv) > 1 else contained()
    nannies = command.children()
    sick = [nanny.pid for nanny in nannies if not answers(nanny)]
    if sick or not nannies:
        sys.stderr.write(f"no answer from the workers of processes {sick}\n" if sick else "there is no worker\n")
        return 1
    return 0


def contained() -> psutil.Process:
    """The command of this container."""
    first = psutil.Process(1)
    return first.children()[0] if "init" in first.name() or first.name() == "tini" else first


def answers(nanny: psutil.Process) -> bool:
    """Whether the worker that this process of Dask's keeps up says that it is well; its pages are on loopback only."""
    for port in ports(nanny):
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=_SECONDS) as answer:
                if answer.read() == b"ok":
                    return True
        except (OSError, ValueError):  # another protocol, or nobody is well
            continue
    return False


def ports(nanny: psutil.Process) -> Iterator[int]:
    """On which what comes from this process listens on loopback."""
    for process in nanny.children(recursive=True):
        try:
            found = process.net_connections("inet")
        except psutil.Error:
            continue
        yield from (c.laddr.port for c in found if c.status == psutil.CONN_LISTEN and c.laddr.ip == "127.0.0.1")


if __name__ == "__main__":
    sys.exit(main())
