"""Files of a store that are damaged: said at once, in one line, and never waited for."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import InputError
from service.store import Store
from tests.service.cli.commands import Call
from tests.service.cli.conftest import call
from tests.service.fakes import study_spec, trial
from tests.service.processes import greenshift

__all__ = ["call"]  # a fixture


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store whose tables fill many pages, none of them in a log of SQLite's own."""
    path = tmp_path / "study.sqlite"
    with Store(path) as store:
        study = store.create_study(study_spec())
        for number in range(200):
            store.add_trial(trial(f"{number:05d}", study_id=study.study_id))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


def damage_pages(path: Path) -> None:
    """Overwrites everything behind the schema."""
    data = path.read_bytes()
    n_bytes = int.from_bytes(data[16:18], "big")
    path.write_bytes(data[:n_bytes] + b"\xff" * (len(data) - n_bytes))


def damage_header(path: Path) -> None:
    path.write_bytes(b"x" * len(path.read_bytes()))


@pytest.mark.parametrize("damage", [damage_pages, damage_header])
def test_a_file_that_is_damaged_while_it_is_used_is_said_at_once(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with Store(path) as store:
        store.database.close()
        damage(path)
        for use in (store.studies, lambda: store.create_study(study_spec())):
            with pytest.raises(InputError, match=rf"^the store {path} is damaged \(.*\): restore it from a .*$"):
                use()
    assert "trying again" not in caplog.text


def test_a_damaged_file_is_refused_by_commands_in_one_line_and_left_as_it_is(
    call: Call, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "runs"
    out.mkdir()
    shutil.copy(path, out / "study.sqlite")
    damage_pages(out / "study.sqlite")
    before = (out / "study.sqlite").read_bytes()
    url = f"sqlite:///{out}/study.sqlite"
    for arguments in (
        ["run", "digits", "--out", str(out)],
        ["finalize", str(out)],
        ["token", "list", "--database-url", url],
        ["serve", "--port", "0", "--out", str(out), "--database-url", url],
    ):
        # A service sets up the log of its process.
        done = greenshift(*arguments) if arguments[0] == "serve" else call(*arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), (arguments, done.stderr)
        assert f"the store {out}/study.sqlite is damaged (database disk image is malformed)" in done.stderr
    assert "trying again" not in caplog.text
    assert (out / "study.sqlite").read_bytes() == before
