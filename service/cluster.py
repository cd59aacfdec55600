"""Dask clusters: a local one of worker processes, or a connection to one that runs already."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
import psutil
import pynvml
from distributed import Client, Nanny, Scheduler, SpecCluster

from service.errors import InputError

# Only the coordinator retries, training has its own memory, and a slow trial is no reason to sample call stacks.
_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.unknown-task-duration": "1h",
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.diagnostics.nvml": False,
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextmanager
def local_cluster(n_workers: int) -> Iterator[Client]:
    """A client of `n_workers` worker processes on this machine, each with a GPU of its own or a share of the cores.

    Listens on loopback only. On leaving, workers are ended at once: whatever they still run is of no use.

    Raises:
        InputError: more workers than GPUs, which would then share a GPU and its energy counter.
    """
    gpus = gpu_uuids()
    if gpus and n_workers > len(gpus):
        raise InputError(f"workers must be 1..{len(gpus)}, the GPUs of this machine, got {n_workers}")
    with dask.config.set(_CONFIG):
        cluster = SpecCluster(
            scheduler={
                "cls": Scheduler,
                "options": {"host": "127.0.0.1", "port": 0, "dashboard": False},
            },
            workers={i: _worker(i, n_workers, gpus) for i in range(n_workers)},
            silence_logs=logging.CRITICAL,
        )
        client = Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            for nanny in cluster.workers.values():
                _kill(nanny.pid)
            client.close(timeout=1)
            cluster.close(timeout=2)


@contextmanager
def remote_cluster(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`, such as `tcp://host:8786`.

    Raises:
        InputError: nothing answers there.
    """
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
    return len(gpu_uuids()) or os.cpu_count() or 1


def gpu_uuids() -> list[str]:
    """UUIDs of the NVIDIA GPUs of this machine; empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _kill(pid: int | None) -> None:
    """Ends a worker process at once, if there is one."""
    with suppress(psutil.NoSuchProcess):
        if pid is not None:
            psutil.Process(pid).kill()


def _worker(index: int, n_workers: int, gpus: list[str]) -> dict[str, Any]:
    """How worker number `index` is started: pinned to its GPU by UUID, or to an equal share of the cores."""
    n_threads = max(1, (os.cpu_count() or 1) // n_workers)
    environment = dict.fromkeys(_THREAD_VARIABLES, str(n_threads))
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index]
    return {
        "cls": Nanny,
        "options": {
            "host": "127.0.0.1",
            "nthreads": 1,
            "memory_limit": 0,
            "dashboard": False,
            "resources": {"GPU" if gpus else "CPU_SLOT": 1},
            "env": environment,
            "silence_logs": logging.CRITICAL,
        },
    }
