"""Dask clusters: a local one of worker processes, or a connection to one that runs already."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import dask
import pynvml
from distributed import Client, Scheduler, SpecCluster

from service.errors import InputError, ServiceError

# Only the coordinator retries, and a slow trial is no reason to guess that more workers are needed.
_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.unknown-task-duration": "1h",
    "distributed.diagnostics.nvml": False,
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_START_SECONDS = 120


@contextmanager
def local_cluster(n_workers: int) -> Iterator[Client]:
    """A client of `n_workers` worker processes on this machine, each with a GPU of its own or a share of the cores.

    The scheduler lives in this process, so workers end by themselves should it die. Everything listens on loopback
    only. On leaving, workers are ended at once: whatever they still run is of no use.

    Raises:
        InputError: more workers than GPUs, which would then share a GPU and its energy counter.
        ServiceError: the workers do not start.
    """
    gpus = gpu_uuids()
    if gpus and n_workers > len(gpus):
        raise InputError(f"workers must be 1..{len(gpus)}, the GPUs of this machine, got {n_workers}")
    with dask.config.set(_CONFIG), tempfile.TemporaryFile("w+") as log:
        options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        cluster = SpecCluster(scheduler={"cls": Scheduler, "options": options}, silence_logs=logging.CRITICAL)
        client = Client(cluster, set_as_default=False)
        workers: list[subprocess.Popen[bytes]] = []
        try:
            for index in range(n_workers):
                workers.append(_start_worker(cluster.scheduler_address, index, n_workers, gpus, log))
            _wait(client, n_workers, log)
            yield client
        finally:
            for worker in workers:
                _kill(worker)
            client.close(timeout=1)
            cluster.close(timeout=2)


@contextmanager
def remote_cluster(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`, such as `tcp://host:8786`.

    Raises:
        InputError: nothing answers there.
    """
    if not re.fullmatch(r"(tcp|tls)://[^\s:]+:\d+", address):
        raise InputError(f"scheduler must be tcp://HOST:PORT or tls://HOST:PORT, got {address!r}")
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"scheduler: no Dask scheduler answers at {address}") from error
    try:
        yield client
    finally:
        client.close(timeout=2)


def default_n_workers() -> int:
    """One worker a GPU, or one a core where there is no GPU."""
    return len(gpu_uuids()) or n_cores()


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def gpu_uuids() -> list[str]:
    """UUIDs of the NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES lets through; empty without a driver.

    Its numbers are taken as NVML's, which are those of CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        uuids = [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return uuids
    wanted = [entry.strip() for entry in visible.split(",")]
    return [uuid for i, uuid in enumerate(uuids) if any(w == str(i) or (w and uuid.startswith(w)) for w in wanted)]


def _start_worker(address: str, index: int, n_workers: int, gpus: list[str], log: IO[str]) -> subprocess.Popen[bytes]:
    """Starts worker number `index`, pinned to its GPU by UUID, or to an equal share of the cores."""
    n_threads = max(1, n_cores() // n_workers)
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(n_threads))
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index]
    command = [sys.executable, "-m", "dask", "worker", address, "--nworkers", "1", "--nthreads", "1"]
    command += ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--memory-limit", "0"]
    command += ["--resources", "GPU=1" if gpus else "CPU_SLOT=1", "--death-timeout", str(_START_SECONDS)]
    # A session of its own keeps the terminal's Ctrl-C away from the workers: the coordinator ends them.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _wait(client: Client, n_workers: int, log: IO[str]) -> None:
    try:
        client.wait_for_workers(n_workers, timeout=_START_SECONDS)
    except TimeoutError as error:
        log.seek(0)
        last = log.read().strip().splitlines()[-1:] or ["they say nothing"]
        raise ServiceError(f"the workers did not start within {_START_SECONDS} s: {last[0]}") from error


def _kill(worker: subprocess.Popen[bytes]) -> None:
    """Ends a worker and its children at once."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
