"""The command `greenshift worker`: Dask workers on this machine, kept up; or what it can measure."""

from __future__ import annotations

import math
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Annotated

import typer

from service.access import Access
from service.cli.options import Insecure, Tls
from service.cli.selftest import print_self_test
from service.cli.signals import INTERRUPTED, noted_signals
from service.errors import InputError, ServiceError
from service.upkeep import Upkeep
from service.workers import (
    WorkerPlan,
    address_towards,
    default_n_workers,
    gpu_uuids,
    n_cores,
    plan_workers,
    start_worker,
)

_DEATH_SECONDS = 60
_ASK_SECONDS = 0.5


def worker(
    scheduler: Annotated[
        str | None, typer.Argument(help="Its address, such as tcp://host:8786 or tls://host:8786.")
    ] = None,
    cores_per_worker: Annotated[
        int | None, typer.Option(min=1, help="On a machine without GPUs, cores of each worker; default 1.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address of this machine to listen on; default that towards the scheduler.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="That of the workers begin with; default this machine's.")] = None,
    local_directory: Annotated[Path | None, typer.Option(help="Folder for Dask's own files.")] = None,
    tls: Tls = None,
    insecure: Insecure = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Start nothing; say what this machine can measure.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The self-test as JSON, for programs.")] = False,
) -> None:
    """Runs workers for a Dask scheduler, one for each GPU or core, and starts those again that end."""
    if self_test:
        print_self_test(as_json=as_json)
        return
    if scheduler is None:
        raise InputError("scheduler: missing; name one such as tcp://host:8786, or ask for --self-test")
    access = Access(scheduler, tls, insecure)
    access.files("worker")
    if host is not None:
        _check_host(host)
    plans = plan_workers(_n_workers(cores_per_worker), name or socket.gethostname())
    start = partial(_start, access=access, host=host, towards=_asked_once(access), directory=local_directory)
    upkeep = Upkeep({plan.name: partial(start, plan) for plan in plans}, partial(typer.echo, err=True))
    signals = noted_signals(upkeep.stop)
    upkeep.run()
    if signal.SIGINT in signals:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(INTERRUPTED)


def _start(
    plan: WorkerPlan, *, access: Access, host: str | None, towards: Callable[[], str], directory: Path | None
) -> Popen[bytes]:
    # Also where the host is known: without a scheduler Dask's worker would end with a traceback.
    address = towards()
    return start_worker(plan, access, host or address, death_seconds=_DEATH_SECONDS, directory=directory)


def _asked_once(access: Access) -> Callable[[], str]:
    """Our address towards the scheduler, asked anew as it, its name or the network may come later than this machine.

    Workers that are due together ask together: nobody who is silent holds up each of them, and so their end.
    """
    answer: ServiceError | str = ""
    asked = -math.inf

    def towards() -> str:
        nonlocal answer, asked
        if time.monotonic() - asked > _ASK_SECONDS:
            try:
                answer = address_towards(access)
            except ServiceError as error:
                answer = error
            asked = time.monotonic()
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    return towards


def _n_workers(cores_per_worker: int | None) -> int:
    if cores_per_worker is None:
        return default_n_workers()
    if gpu_uuids():
        raise InputError(
            "cores-per-worker: this machine has GPUs, each of which gets a worker and an equal share of the cores; "
            "an empty CUDA_VISIBLE_DEVICES hides them"
        )
    if cores_per_worker > n_cores():
        raise InputError(f"cores-per-worker must be 1..{n_cores()}, the cores of this machine, got {cores_per_worker}")
    return default_n_workers(cores_per_worker)


def _check_host(host: str) -> None:
    """Tries to listen there.

    Raises:
        InputError: it is no address of this machine.
    """
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(target)
    except OSError as error:
        raise InputError(f"host must be an address of this machine, got {host!r}: {error.strerror}") from error
