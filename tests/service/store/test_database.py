from __future__ import annotations

import select
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from service.errors import InputError, ServiceError
from service.store import Store
from tests.service.fakes import study_spec, trial
from tests.service.postgresql import Server
from tests.service.processes import wait_until

HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def held(path: Path, begin: str = "BEGIN EXCLUSIVE") -> Iterator[Callable[[], None]]:
    """Another process has a lock on a SQLite file; gives a function that ends it."""
    command = [sys.executable, "-c", HOLDS, str(path), begin]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process.stdin.close
        finally:
            process.stdin.close()


def told(store: Store, study_id: str) -> list[str | None]:
    """Trials that were told, in the order of the log; telling changes no row, so that nothing hides a second one."""
    return [e.trial_id for e in store.events(study_id) if e.kind == "trial_told"]


@pytest.mark.parametrize("url", ["study.sqlite", "mysql://localhost/x", "postgresql+psycopg2://localhost/x", "://", ""])
def test_what_is_no_database_url_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(
        InputError, match="database: must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, got"
    ):
        Store(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@localhost:port/studies",
        "oracle://me:secret@localhost/studies",
        "postgresql://me:secret@localhost:1/studies",
        "postgresql://me@localhost:1/studies?password=secret",
    ],
)
def test_no_message_tells_a_password(url: str) -> None:
    with pytest.raises(InputError, match="database: ") as error:
        Store(url)
    assert "secret" not in str(error.value)


def test_a_sqlite_url_is_the_same_as_its_path(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(f"sqlite:///{path}") as by_url, Store(path) as by_path:
        by_url.create_study(study_spec())
        assert by_path.studies() == by_url.studies()


def test_a_path_may_have_any_letters(tmp_path: Path) -> None:
    path = tmp_path / "50% of?my#studies.sqlite"
    with Store(path) as store:
        store.create_study(study_spec())
    assert path.is_file()


def test_stores_in_memory_share_nothing() -> None:
    with Store("sqlite://") as one, Store(None) as other:
        one.create_study(study_spec())
        assert other.studies() == []


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_postgresql_url_is_taken_as_people_paste_it(name: str, postgresql_url: str) -> None:
    with Store(postgresql_url.replace("postgresql", name)) as store:
        study = store.create_study(study_spec())
        assert store.studies() == [study]


def test_a_server_that_is_not_there_is_said_at_once_without_the_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match="cannot be opened: connection is bad") as error:
        Store(f"postgresql://me:secret@/studies?host={tmp_path}")
    assert "trying again" not in caplog.text
    assert "secret" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_without_its_driver_postgresql_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"PostgreSQL needs `pip install 'greenshift\[postgresql\]'`"):
        Store("postgresql://localhost/studies")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/study.sqlite cannot be opened: unable to open database file"):
        Store(tmp_path / "nowhere" / "study.sqlite")


def test_a_change_waits_until_another_process_lets_go_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as store:
        study_id = store.create_study(study_spec()).study_id
    with Store(path) as store, held(path) as let_go, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(store.record_told, study_id, "1")
        while not caplog.records:
            assert not writing.done()
            time.sleep(0.01)
        let_go()
        writing.result(timeout=120)
        assert told(store, study_id) == ["1"]
    assert [record.message for record in caplog.records] == [f"{path}: database is locked; trying again"]


def test_a_file_that_stays_locked_is_a_line_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path, patience_seconds=0.1) as store:
        study_id = store.create_study(study_spec()).study_id
        with (
            held(path),
            pytest.raises(ServiceError, match=r"could not be used for 0.1 s \(database is locked\): end the process"),
        ):
            store.record_told(study_id, "1")
        assert told(store, study_id) == []
        store.record_told(study_id, "2")
        assert told(store, study_id) == ["2"]


def test_a_file_is_read_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path, patience_seconds=0.1) as store:
        study = store.create_study(study_spec())
        with held(path, "BEGIN IMMEDIATE"):
            assert store.study(study.study_id) == study


def test_a_file_that_is_locked_while_it_is_opened_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    sqlite3.connect(path).close()
    with held(path) as let_go, ThreadPoolExecutor(1) as pool:
        opening = pool.submit(Store, path)
        time.sleep(0.1)
        assert not opening.done()
        let_go()
        with opening.result(timeout=120) as store:
            assert store.studies() == []


def test_a_fault_that_does_not_pass_is_told_at_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ServiceError, match=r"the store .* failed: .*nonsense"):
        store.database.write(lambda connection: connection.execute(text("SELECT nonsense")))
    assert "trying again" not in caplog.text


def test_a_full_disk_is_told_and_nothing_is_written_in_part(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite", patience_seconds=0.1) as store:
        study_id = store.create_study(study_spec()).study_id
        store.database.read(lambda c: c.exec_driver_sql("PRAGMA max_page_count=36"))
        with pytest.raises(ServiceError, match=r"\(database or disk is full\): make room on its disk"):
            for i in range(100):
                store.add_trial(trial(str(i), study_id=study_id))
        added = [e.trial_id for e in store.events(study_id) if e.kind == "trial_added"]
        assert added == [t.trial_id for t in store.trials(study_id)]
        assert 0 < len(added) < 100


def test_a_change_that_fails_leaves_nothing(store: Store) -> None:
    study_id = store.create_study(study_spec()).study_id

    def change(connection: Connection) -> None:
        connection.execute(text("DELETE FROM events"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.database.write(change)
    assert [e.kind for e in store.events(study_id)] == ["study_created"]


def test_connections_that_an_administrator_ends_are_made_anew(postgresql: Server, postgresql_url: str) -> None:
    with Store(postgresql_url) as store:
        study_id = store.create_study(study_spec()).study_id
        assert postgresql.end_backends("shared") >= 1
        store.record_told(study_id, "1")
        assert postgresql.end_backends("shared") >= 1
        assert told(store, study_id) == ["1"]


def test_a_change_that_is_cut_off_in_its_middle_happens_once(postgresql_url: str) -> None:
    calls = []

    def change(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("INSERT INTO tokens VALUES ('t', 'name', 'hash', now())"))
        if len(calls) == 1:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with Store(postgresql_url) as store:
        store.database.write(change)
        n = store.database.read(lambda connection: connection.scalar(text("SELECT count(*) FROM tokens")))
    assert (len(calls), n) == (2, 1)


def test_a_server_that_starts_again_loses_and_doubles_nothing(postgresql: Server, postgresql_url: str) -> None:
    names: list[str] = []
    is_enough = threading.Event()
    with Store(postgresql_url) as store, ThreadPoolExecutor(1) as pool:
        study_id = store.create_study(study_spec()).study_id

        def write() -> None:
            while not is_enough.is_set():
                store.record_told(study_id, f"{len(names)}")
                names.append(f"{len(names)}")

        writing = pool.submit(write)
        while len(told(store, study_id)) < 5:
            time.sleep(0.001)
        postgresql.stop()
        assert not writing.done()
        postgresql.start()
        n_before = len(told(store, study_id))
        wait_until(lambda: len(names) > n_before)
        is_enough.set()
        writing.result(timeout=120)
        assert told(store, study_id) == names


def test_a_server_that_stays_away_is_a_line_that_says_what_to_do(postgresql: Server, postgresql_url: str) -> None:
    with Store(postgresql_url, patience_seconds=0.1) as store:
        study_id = store.create_study(study_spec()).study_id
        postgresql.stop()
        try:
            with pytest.raises(
                ServiceError, match=r"could not be used for 0.1 s .*: see that the server runs"
            ) as error:
                store.record_told(study_id, "1")
        finally:
            postgresql.start()
        assert len(str(error.value).splitlines()) == 1
        assert told(store, study_id) == []


class Cut:
    """A socket before the server's that cuts one connection when its client commits.

    Args:
        folder: where the socket lies.
        server: where the server's lies.
        arrives: whether the server learns of the commit `at once`, so that only its answer is lost, `later` or `never`.
    """

    def __init__(self, folder: Path, server: Path, arrives: str) -> None:
        self.is_armed = False
        self._server, self._arrives = server, arrives
        self._held: list[tuple[socket.socket, bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.let_go()
        self._listener.close()

    def let_go(self) -> None:
        """Ends the server's side of the connection that was cut, after what is to arrive later has."""
        while self._held:
            server, data = self._held.pop()
            with server:
                if self._arrives == "later":
                    server.sendall(data)
                    server.recv(65536)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server / ".s.PGSQL.5432"))
                threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client, suppress(OSError):  # reset
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if self.is_armed and source is client and b"COMMIT" in data:
                        self._cut(server, data)
                        return
                    if not data:
                        server.close()
                        return
                    (server if source is client else client).sendall(data)

    def _cut(self, server: socket.socket, data: bytes) -> None:
        self.is_armed = False
        if self._arrives == "at once":
            server.sendall(data)
            server.recv(65536)
        self._held.append((server, data))


@pytest.fixture
def cut(request: pytest.FixtureRequest, postgresql: Server) -> Iterator[Cut]:
    folder = postgresql.folder / "cut"
    folder.mkdir()
    cut = Cut(folder, postgresql.folder, request.param)
    yield cut
    cut.close()
    (folder / ".s.PGSQL.5432").unlink()
    folder.rmdir()


@pytest.mark.parametrize("cut", ["at once"], indirect=True)
def test_a_commit_whose_answer_is_lost_is_not_done_again(cut: Cut, postgresql: Server, postgresql_url: str) -> None:
    with Store(postgresql_url.replace(str(postgresql.folder), str(postgresql.folder / "cut"))) as store:
        study_id = store.create_study(study_spec()).study_id
        cut.is_armed = True
        store.record_told(study_id, "1")
        assert not cut.is_armed
        assert told(store, study_id) == ["1"]


@pytest.mark.parametrize("cut", ["later", "never"], indirect=True)
def test_a_commit_that_did_not_arrive_is_not_done_again_before_the_server_says_what_became_of_it(
    cut: Cut, postgresql: Server, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Store(postgresql_url.replace(str(postgresql.folder), str(postgresql.folder / "cut"))) as store,
        ThreadPoolExecutor(1) as pool,
    ):
        study_id = store.create_study(study_spec()).study_id
        cut.is_armed = True
        writing = pool.submit(store.record_told, study_id, "1")
        while not caplog.records:
            time.sleep(0.01)
        time.sleep(0.2)
        assert not writing.done()
        cut.let_go()
        writing.result(timeout=120)
        assert told(store, study_id) == ["1"]
