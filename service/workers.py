"""Processes of Dask workers on this machine: how many it has room for, what each is given, and how one is started."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO

import pynvml

from service.access import Access
from service.errors import InputError, RefusedError, ServiceError

# More would have no time to answer the scheduler.
_WORKERS_PER_CORE = 32
_REACH_SECONDS = 2.0
# The kernel ends a worker with whoever started it, before anything is loaded that takes time.
_START = """
import sys
from worker.lifeline import die_with
die_with(int(sys.argv.pop(1)))
sys.argv[0] = "dask"
from dask.__main__ import main
main()
"""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Energy is ours to measure, and a profile of a thread that waits for its trial is of no use.
_SETTINGS = {"DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False", "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
# Threads that spin while they wait for each other take ten times as long where anything else runs on the machine.
THREAD_DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE"}
# Entries of CUDA_VISIBLE_DEVICES that end the list; Slurm writes the last one on machines without GPUs.
_ENDS = ("", "-1", "NoDevFiles")


@dataclass(frozen=True)
class WorkerPlan:
    """What one worker is given of its machine.

    Attributes:
        name: unique on the scheduler, such as `node1-gpu0` or `node1-0`.
        gpu: UUID of its GPU; None is a share of the cores.
        n_threads: for numerical libraries, 1 or more.
    """

    name: str
    gpu: str | None
    n_threads: int

    @property
    def resource(self) -> str:
        """That it offers one unit of."""
        return "CPU_SLOT" if self.gpu is None else "GPU"


def plan_workers(n_workers: int, name: str) -> list[WorkerPlan]:
    """`n_workers` that share this machine: each has a GPU of its own, if it has any, and an equal share of the cores.

    Args:
        n_workers: how many.
        name: that theirs begin with.

    Raises:
        InputError: none, more than GPUs, which would then share a GPU and its energy counter, or more than cores have
            time for.
    """
    gpus = gpu_uuids()
    most = len(gpus) or _WORKERS_PER_CORE * n_cores()
    if not 1 <= n_workers <= most:
        why = "the GPUs of this machine" if gpus else f"{_WORKERS_PER_CORE} for each core of this machine"
        raise InputError(f"workers must be 1..{most}, {why}, got {n_workers}")
    n_threads = max(1, n_cores() // n_workers)
    if gpus:
        return [WorkerPlan(f"{name}-gpu{i}", gpu, n_threads) for i, gpu in enumerate(gpus[:n_workers])]
    return [WorkerPlan(f"{name}-{i}", None, n_threads) for i in range(n_workers)]


def default_n_workers(cores_per_worker: int = 1) -> int:
    """One worker a GPU, or one for so many cores where there is no GPU; at least one."""
    return len(gpu_uuids()) or max(1, n_cores() // cores_per_worker)


def start_worker(
    plan: WorkerPlan,
    access: Access,
    host: str,
    *,
    death_seconds: int,
    directory: Path | None = None,
    log: IO[str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a Dask worker, in a process group of its own; it dies with the thread that called this.

    Args:
        plan: what it is given.
        access: its scheduler.
        host: address of this machine that it listens on; its web pages are on loopback only.
        death_seconds: after which it ends where it does not find the scheduler.
        directory: for its files; None lets Dask choose one.
        log: for what it prints; None lets it print where this process does.
    """
    arguments = worker_arguments(plan, access, host, death_seconds=death_seconds, directory=directory)
    # A session of its own keeps the terminal's Ctrl-C away from the workers: whoever started them ends them.
    return subprocess.Popen(
        [sys.executable, "-c", _START, str(os.getpid()), "worker", *arguments],
        env=THREAD_DEFAULTS | os.environ | _environment(plan),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def worker_arguments(
    plan: WorkerPlan, access: Access, host: str, *, death_seconds: int, directory: Path | None = None
) -> list[str]:
    """The command line of `dask worker`.

    Raises:
        InputError: the scheduler speaks TLS, and the folder has no certificate of a worker.
    """
    arguments = [access.address, "--name", plan.name, "--resources", f"{plan.resource}=1"]
    arguments += ["--nworkers", "1", "--nthreads", "1", "--memory-limit", "0", "--death-timeout", str(death_seconds)]
    arguments += ["--host", f"[{host}]" if ":" in host else host, "--dashboard-address", "127.0.0.1:0"]
    if directory is not None:
        arguments += ["--local-directory", str(directory)]
    if files := access.files("worker"):
        arguments += ["--tls-ca-file", str(files.ca), "--tls-cert", str(files.certificate), "--tls-key", str(files.key)]
    return arguments


def end_worker(worker: subprocess.Popen[bytes]) -> None:
    """Ends a worker and its children at once."""
    if worker.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def address_towards(access: Access) -> str:
    """Address of this machine on the interface by which it reaches the scheduler.

    Raises:
        RefusedError: it does not let us in.
        ServiceError: nobody answers there, or the scheduler's name is not known.
    """
    files = access.files("worker")
    try:
        with socket.create_connection((access.host, access.port), timeout=_REACH_SECONDS) as connection:
            address = str(connection.getsockname()[0])
            if files is not None:
                # Or the scheduler would warn of a handshake that failed; it may be too busy for one at once.
                with suppress(TimeoutError):
                    files.context().wrap_socket(connection, server_hostname=access.host).close()
            return address
    except ssl.SSLError as error:
        raise RefusedError(f"{access.address} does not let us in: {error.strerror or error}") from error
    except OSError as error:
        raise ServiceError(f"nobody answers at {access.address}: {error.strerror or error}") from error


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def gpu_uuids() -> list[str]:
    """UUIDs of the NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES lets through, in its order.

    Numbers are taken as NVML's, which are those of CUDA_DEVICE_ORDER=PCI_BUS_ID; MIG slices are given back as they
    are spelt. CUDA hides what comes after a name that it does not know; here such a name is an error.

    Raises:
        InputError: it names a GPU that this machine does not have, or one twice.
    """
    uuids = _all_gpu_uuids()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return uuids
    entries = takewhile(lambda entry: entry not in _ENDS, (entry.strip() for entry in visible.split(",")))
    found = [_find(entry, uuids) for entry in entries]
    if len(set(found)) < len(found):
        raise InputError(f"CUDA_VISIBLE_DEVICES: {visible!r} names a GPU twice; two workers would share its counter")
    return found


def _find(entry: str, uuids: list[str]) -> str:
    if entry.isdecimal():
        matches = uuids[int(entry) : int(entry) + 1]
    elif entry.startswith("MIG-") and uuids:
        matches = [entry]
    else:
        matches = [uuid for uuid in uuids if uuid.startswith(entry)]
    if len(matches) != 1:
        have = f"0..{len(uuids) - 1}, {', '.join(uuids)}" if uuids else "none, as NVML finds no GPU"
        raise InputError(f"CUDA_VISIBLE_DEVICES must name GPUs of this machine ({have}), got {entry!r}")
    return matches[0]


def _all_gpu_uuids() -> list[str]:
    """Those of all GPUs, in NVML's order; none without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _environment(plan: WorkerPlan) -> dict[str, str]:
    """What a worker's environment has beyond ours; it must be there before the process starts."""
    gpu = {} if plan.gpu is None else {"CUDA_VISIBLE_DEVICES": plan.gpu}
    return _SETTINGS | dict.fromkeys(_THREAD_VARIABLES, str(plan.n_threads)) | gpu
