"""Dask clusters: a local one of worker processes, or a connection to one that runs already."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import IO

import dask
from distributed import Client, Scheduler, Security, SpecCluster
from distributed.comm.core import CommClosedError, connect

from service.access import Access
from service.errors import InputError, RefusedError, ServiceError
from service.interrupts import held_signals
from service.upkeep import kept_up
from service.workers import plan_workers, start_worker

logger = logging.getLogger(__name__)
# A slow trial is no reason to guess that more workers are needed.
_CONFIG = {
    "distributed.scheduler.unknown-task-duration": "1h",
    "distributed.diagnostics.nvml": False,
}
_LOOPBACK = "127.0.0.1"
_START_SECONDS = 120
_CONNECT_SECONDS = 10
# What comes of a connection to nobody, or to somebody who speaks otherwise.
_NO_SCHEDULER = (OSError, ValueError, TypeError, LookupError, MemoryError)


@contextmanager
def local_cluster(n_workers: int) -> Iterator[Client]:
    """A client of `n_workers` worker processes on this machine, each with a GPU of its own or a share of the cores.

    The scheduler lives in this process, and the workers die with it; one that ends before is started again. Everything
    listens on loopback only. On leaving, workers are ended at once: whatever they still run is of no use.

    Raises:
        InputError: more workers than GPUs, which would then share a GPU and its energy counter.
        ServiceError: the workers do not start.
    """
    plans = plan_workers(n_workers, "local")
    with dask.config.set(_CONFIG), _quiet(), tempfile.TemporaryFile("w+") as log, ExitStack() as opened:
        options = {"host": _LOOPBACK, "port": 0, "dashboard": False, "dashboard_address": f"{_LOOPBACK}:0"}
        with held_signals():
            cluster = SpecCluster(scheduler={"cls": Scheduler, "options": options})
            opened.callback(_close, cluster, 2)
            client = Client(cluster, set_as_default=False)
            opened.callback(_close, client, 1)
        start = partial(
            start_worker,
            access=Access(cluster.scheduler_address),
            host=_LOOPBACK,
            death_seconds=_START_SECONDS,
            log=log,
        )
        with kept_up({plan.name: partial(start, plan) for plan in plans}, partial(logger.warning, "worker %s")):
            _wait(client, n_workers, log)
            yield client


def _close(connected: Client | SpecCluster, seconds: float) -> None:
    """What a busy machine does not close in time is left to the end of the process: all results are in the store."""
    try:
        with suppress(TimeoutError):
            connected.close(timeout=seconds)
    finally:
        if isinstance(connected, Client):
            connected.status = "closed"  # its finalizer would wait again, for a minute


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask says nothing meanwhile.

    Its own way of that is to silence handlers, which may be those of everybody: it borrows what the root has.
    """
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def remote_cluster(access: Access) -> Iterator[Client]:
    """A client of a scheduler that runs already.

    Raises:
        InputError: no scheduler answers there, or the folder has no certificate of a client.
        RefusedError: the scheduler and this client do not accept each other's certificates.
    """
    security = _security(access)
    with ExitStack() as opened:
        try:
            _greet(access.address, security)
            with held_signals():
                client = Client(access.address, timeout=_CONNECT_SECONDS, set_as_default=False, security=security)
                opened.callback(_close, client, 2)
        except CommClosedError as error:
            said = str(error.__cause__ or error)
            raise RefusedError(f"scheduler: {access.address} does not let us in, {_with(access)}: {said}") from error
        except _NO_SCHEDULER as error:
            raise InputError(f"scheduler: no Dask scheduler answers at {access.address}") from error
        yield client


def _greet(address: str, security: Security | None) -> None:
    """Returns once a scheduler has answered there, and raises within seconds where none does.

    A client of Dask's own would wait without end for whoever takes its connection and says nothing, and hold up whoever
    is interrupted meanwhile. On a thread, as this one may have a loop of its own.
    """
    arguments = {} if security is None else security.get_connection_args("client")
    answered: Future[None] = Future()

    async def greet() -> None:
        comm = await connect(address, timeout=_CONNECT_SECONDS, **arguments)
        await comm.close()

    def work() -> None:
        try:
            answered.set_result(asyncio.run(asyncio.wait_for(greet(), _CONNECT_SECONDS)))
        except Exception as error:  # noqa: BLE001 - raised again by the thread that asked
            answered.set_exception(error)

    threading.Thread(target=work, daemon=True, name="greenshift-greet").start()
    answered.result()


def _security(access: Access) -> Security | None:
    files = access.files("client")
    if files is None:
        return None
    return Security(
        require_encryption=True,
        tls_ca_file=str(files.ca),
        tls_client_cert=str(files.certificate),
        tls_client_key=str(files.key),
    )


def _with(access: Access) -> str:
    return "without certificates" if access.tls is None else f"with the certificates in {access.tls}"


def _wait(client: Client, n_workers: int, log: IO[str]) -> None:
    try:
        client.wait_for_workers(n_workers, timeout=_START_SECONDS)
    except TimeoutError as error:
        log.seek(0)
        last = log.read().strip().splitlines()[-1:] or ["they say nothing"]
        raise ServiceError(f"the workers did not start within {_START_SECONDS} s: {last[0]}") from error
