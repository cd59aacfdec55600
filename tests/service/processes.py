"""Starting, looking at and waiting for processes, within limits."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GREENSHIFT = [sys.executable, "-c", "from service.cli import main; main()"]
DASK = [sys.executable, "-m", "dask"]


@contextmanager
def started(*command: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that prints into `log`, for as long as it is needed; killed then if it has not ended."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | environment, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def dask_scheduler(folder: Path, *options: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A `dask scheduler` as users start one, but on loopback, and its address."""
    told = folder / "scheduler.json"
    told.unlink(missing_ok=True)
    command = [*DASK, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", "127.0.0.1:0"]
    command += ["--scheduler-file", str(told), *options]
    with started(*command, log=folder / "scheduler.log") as process:
        wait_until(lambda: told.is_file() and told.read_text().endswith("}"))
        yield process, json.loads(told.read_text())["address"]


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port on which nobody listens but who is told of it: it is held, so the system gives it to nobody else."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def wait_until(is_so: Callable[[], object], seconds: float = 120.0) -> None:
    """Returns once `is_so`, and fails where it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.02)


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


def have_ended(pids: Iterable[int], seconds: float = 120.0) -> bool:
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


def greenshift(*arguments: str, cwd: Path | None = None, seconds: float = 280.0) -> subprocess.CompletedProcess[str]:
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
