"""The service as one process: a store, a supervisor of its studies on a thread, and the HTTP API in front."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from service.access import Access
from service.api import create_app
from service.certificates import end_of
from service.cluster import local_cluster, remote_cluster
from service.errors import DamagedError, InputError, RefusedError
from service.settings import database_of
from service.store import Store, Tokens, alone
from service.store.database import Database
from service.supervisor import Places, Supervisor
from service.telemetry import show_certificate_end
from service.workers import default_n_workers, plan_workers

logger = logging.getLogger(__name__)
# For requests under way, and then for coordinators to record what has come.
_GRACE_SECONDS = 2
_LEAVE_SECONDS, _BRIEF_SECONDS = 8.0, 0.5
# While the database is busy or lost, requests are better refused soon than kept.
_PATIENCE_SECONDS = 5.0
# To renew certificates in good time.
_SOON = timedelta(days=30)
# How often to look whether the store was found damaged.
_LOOK_SECONDS = 1


@dataclass(frozen=True)
class Serving:
    """What a service is made of.

    Attributes:
        host: name or address to listen on.
        port: 0 takes a free one.
        out: folder of trained weights, and of checkpoints and the store where those are not said.
        database_url: of the store; None is a SQLite file in `out`.
        checkpoint_url: path or fsspec URL that all workers see; None is a folder in `out`.
        scheduler: a running Dask scheduler; None starts processes on this machine.
        n_workers: of those; None is one per GPU, or one per core without GPUs.
        data_dir: folder of the data sets for those; None is GREENSHIFT_DATA_DIR.
        https: files of a certificate (with those that signed it, if others than clients know did) and of its key; None
            speaks HTTP.
    """

    host: str
    port: int
    out: Path
    database_url: str | None = None
    checkpoint_url: str | None = None
    scheduler: Access | None = None
    n_workers: int | None = None
    data_dir: Path | None = None
    https: tuple[Path, Path] | None = None


def serve(serving: Serving, on_start: Callable[[str], None] = lambda _: None) -> None:
    """Serves until SIGTERM or Ctrl-C; studies stay as they are, for the next process to go on with.

    Args:
        serving: what to serve.
        on_start: is given the URL once requests are accepted.

    Raises:
        InputError: an address, a folder or a database that cannot be used, a port that is in use, or more workers than
            this machine can have.
        RefusedError: other machines could reach the service, and it knows no token.
        DamagedError: the file of the store is damaged; that ends the service.
        KeyboardInterrupt: it was Ctrl-C.
    """
    if serving.data_dir is not None and not serving.data_dir.is_dir():
        raise InputError(f"data_dir: must be a folder that is there, got {serving.data_dir}")
    check_https(serving)
    if serving.scheduler is None:
        plan_workers(_n_workers(serving), "local")
    url = serving.database_url or database_of(serving.out)
    with (
        # First, so that a port in use leaves nothing behind.
        listening(serving) as listener,
        _folder(serving.out),
        Store(url) as store,
        alone(store),
        Store(url, patience_seconds=_PATIENCE_SECONDS) as for_requests,
    ):
        is_open = not is_loopback(listener)
        if is_open and not any(token.revoked_at is None for token in Tokens(store).tokens()):
            raise RefusedError(
                f"host: {serving.host} lets other machines in, and there is no token yet: make one with "
                "`greenshift token create NAME`, or listen on 127.0.0.1"
            )
        databases = (store.database, for_requests.database)
        server = _server(serving, for_requests, databases, require_token=is_open)
        with supervised(serving, store):
            on_start(_url(listener, "http" if serving.https is None else "https"))
            _answer(server, listener)
        if damage := _damage(databases):
            raise damage


def check_https(serving: Serving) -> None:
    """Looks whether a server can use the certificate, if there is one.

    Raises:
        InputError: it cannot be read, or the key is that of another.
    """
    if serving.https is None:
        return
    certificate, key = serving.https
    for name, file in (("https_certificate", certificate), ("https_key", key)):
        if not file.is_file():
            raise InputError(f"{name}: must be a file that is there, got {file}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise InputError(
            f"https_certificate: {certificate} and https_key {key} must be a certificate and its key without a "
            f"password, as PEM: {error}"
        ) from error


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach a socket that listens."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


@contextmanager
def listening(serving: Serving) -> Iterator[socket.socket]:
    """A socket that listens where it shall.

    Raises:
        InputError: it cannot.
    """
    try:
        family, _, _, _, target = socket.getaddrinfo(serving.host, serving.port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(target[:2], family=family, backlog=2048)
    except OSError as error:
        raise InputError(f"port: {serving.port} on {serving.host} cannot be listened on: {error.strerror}") from error
    with listener:
        yield listener


@contextmanager
def supervised(serving: Serving, store: Store) -> Iterator[None]:
    """Studies of the store run meanwhile, on a thread of their own."""
    places = Places(
        (serving.out / "models").resolve(), serving.checkpoint_url or str((serving.out / "checkpoints").resolve())
    )
    supervisor = Supervisor(store, _connect(serving), places, durable=serving.scheduler is not None)
    # Daemonic, as it may be waiting for workers that never come.
    thread = threading.Thread(target=supervisor.run, daemon=True, name="supervisor")
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        # Who is not connected has nothing to record.
        thread.join(_LEAVE_SECONDS if supervisor.is_connected else _BRIEF_SECONDS)


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: {out} is no folder that can be written: {error.strerror}") from error
    yield


def _connect(serving: Serving) -> Callable[[], AbstractContextManager[Any]]:
    if serving.scheduler is not None:
        _heed_certificate(serving.scheduler)
        return partial(remote_cluster, serving.scheduler)
    if serving.data_dir is not None:
        # What the processes on this machine inherit.
        os.environ["GREENSHIFT_DATA_DIR"] = str(serving.data_dir.resolve())
    return partial(local_cluster, _n_workers(serving))


def _n_workers(serving: Serving) -> int:
    return default_n_workers() if serving.n_workers is None else serving.n_workers


def _heed_certificate(scheduler: Access) -> None:
    """Shows when the certificates end, and says so where that is soon."""
    files = scheduler.files("client")
    if files is None:
        return
    end = end_of(files)
    show_certificate_end(end)
    if end - datetime.now(UTC) < _SOON:
        logger.warning("the certificates in %s end on %s: `greenshift certs` makes others", files.folder, end.date())


def _server(serving: Serving, store: Store, databases: Sequence[Database], *, require_token: bool) -> uvicorn.Server:
    """A server that ends where the file of a database turns out to be damaged."""
    app = create_app(store, require_token=require_token, is_stopping=lambda: server.should_exit)

    async def look() -> None:
        if _damage(databases):
            server.should_exit = True

    certificate, key = serving.https or (None, None)
    config = uvicorn.Config(
        app,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        callback_notify=look,
        timeout_notify=_LOOK_SECONDS,
    )
    server = uvicorn.Server(config)
    return server


def _damage(databases: Sequence[Database]) -> DamagedError | None:
    return next((database.damage for database in databases if database.damage), None)


def _answer(server: uvicorn.Server, listener: socket.socket) -> None:
    """Answers requests until a signal comes; uvicorn gives that on to the handler of before when it is done."""

    def terminate(_number: int, _frame: object) -> None:
        server.should_exit = True

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
