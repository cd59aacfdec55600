from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from service.errors import InputError
from service.schema import StudyState, TrialState
from service.store import Store, migration
from service.store.projection import replay
from service.store.tables import metadata
from tests.service.fakes import completed

# Written by greenshift 0.1.0: a study with a trial in every state that it knew.
DUMP = Path(__file__).with_name("study-0.1.0.sql")
STUDY = "daa681a39095"


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "study.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(DUMP.read_text())
    connection.close()
    return path


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    """Rows as they lie in a file, in the order in which they were written."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]
    connection.close()
    return found


def differences(store: Store, *, compare_type: bool = True) -> list[Any]:
    """What the tables of a store lack or have too much."""
    options = {"compare_type": compare_type, "version_table": migration.VERSION_TABLE}
    return store.database.read(lambda c: compare_metadata(MigrationContext.configure(c, opts=options), metadata))


def keeps(now: Any, before: Any) -> bool:
    """Whether nothing of a document was lost; keys may have come to it."""
    if isinstance(before, dict):
        return all(key in now and keeps(now[key], value) for key, value in before.items())
    return bool(now == before)


def test_all_steps_together_make_the_tables_of_the_program(store: Store) -> None:
    assert differences(store) == []


def test_the_version_of_the_program_is_that_of_the_last_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == migration.VERSION


def test_a_file_of_0_1_0_is_upgraded_without_loss(old_file: Path) -> None:
    before = {name: rows(old_file, name) for name in ("events", "studies", "trials")}

    with Store(old_file) as store:
        study, trials, events = store.study(STUDY), store.trials(STUDY), store.events(STUDY)
        assert differences(store, compare_type=False) == []  # SQLite calls the type of objects JSON there

    assert {name: rows(old_file, name) for name in before} == before
    assert [(e.seq, e.kind, e.trial_id, e.at.isoformat(), e.payload) for e in events] == [
        (r["seq"], r["kind"], r["trial_id"], r["at"], json.loads(r["payload"])) for r in before["events"]
    ]
    assert (study.state, study.created_at.isoformat()) == (StudyState.STOPPED, before["studies"][0]["created_at"])
    assert keeps(study.spec.model_dump(mode="json"), json.loads(before["studies"][0]["spec"]))
    assert list(study.spec.objectives) == ["energy", "error"]
    assert study.spec.budget.n_trials == 7
    assert {t.trial_id: (t.state, t.attempt, t.seq) for t in trials} == {
        "default": (TrialState.COMPLETED, 1, 8),
        "00001": (TrialState.FAILED, 2, 13),
        "00002": (TrialState.WAITING, 1, 16),
        "00003": (TrialState.WAITING, 0, 6),
    }
    assert trials[0].fidelity == 10 / 3
    assert trials[0].value("error") == 0.25


def test_a_file_of_0_1_0_goes_on(old_file: Path) -> None:
    with Store(old_file) as store:
        running = store.start_attempt(store.trial(STUDY, "00003"))
        assert running.seq == 20
        assert store.finish_attempt(completed("00003", study_id=STUDY), TrialState.COMPLETED)
        assert store.n_trials(STUDY) == {"waiting": 1, "running": 0, "completed": 2, "failed": 1, "stopped": 0}
        assert list(store.final_results(STUDY)) == [("default", 1)]
    with Store(old_file) as store:
        assert store.trial(STUDY, "00003").state is TrialState.COMPLETED


def test_the_log_of_0_1_0_makes_the_rows_that_it_left(old_file: Path) -> None:
    with Store(old_file) as store:
        made = replay(STUDY, store.events(STUDY))
        found = store.database.read(
            lambda c: [dict(r) for r in c.execute(metadata.tables["trials"].select()).mappings()]
        )
        assert made.trials == {row["trial_id"]: row for row in found}
        assert (made.study["state"], made.study["spec"]) == (
            StudyState.STOPPED,
            json.loads(rows(old_file, "studies")[0]["spec"]),
        )


@pytest.mark.parametrize("kind", ["file", "postgresql"])
def test_a_store_of_a_newer_version_is_refused_and_left_alone(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = tmp_path / "study.sqlite" if kind == "file" else request.getfixturevalue("new_postgresql_url")
    newer = text(f"UPDATE {migration.VERSION_TABLE} SET version_num = '0999'")
    with Store(where) as store:
        store.database.write(lambda c: c.execute(newer))

    with pytest.raises(
        InputError, match=r"version 0999 and this greenshift knows versions up to 0004: install a newer"
    ):
        Store(where)

    with pytest.raises(InputError) as second:
        Store(where)
    assert len(str(second.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["file", "postgresql"])
def test_a_database_of_another_program_is_refused_and_left_alone(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    create = "CREATE TABLE trials (id INTEGER, patient TEXT)"
    if kind == "file":
        where: Any = tmp_path / "clinic.sqlite"
        with sqlite3.connect(where) as connection:
            connection.execute(create)
        connection.close()
    else:
        where = request.getfixturevalue("new_postgresql_url")
        with psycopg.connect(where) as server:
            server.execute(create)

    with pytest.raises(
        InputError, match=r"no store of studies: its table trials is of another program: .* id, patient"
    ):
        Store(where)

    assert tables_of(where) == {"trials"}


def tables_of(where: Path | str) -> set[str]:
    if isinstance(where, Path):
        return {row["name"] for row in rows(where, "sqlite_master") if row["type"] == "table"}
    with psycopg.connect(where) as server:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return {name for (name,) in server.execute(query)}


def test_tables_of_another_name_are_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('f00')")
    connection.close()
    with Store(path) as store:
        assert store.database.read(lambda c: inspect(c).has_table("events"))
    assert rows(path, "alembic_version") == [{"version_num": "f00"}]


RACE = """
import multiprocessing, sys
from pathlib import Path
from service.schema import StudySpec
from service.store import Store

def first(where, barrier):
    barrier.wait()
    with Store(where) as store:
        store.create_study(StudySpec.load("digits"))

fork = multiprocessing.get_context("fork")
for argument in sys.argv[1:]:
    where = argument if "://" in argument else Path(argument)
    barrier = fork.Barrier(4)
    processes = [fork.Process(target=first, args=(where, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    with Store(where) as store:
        print([p.exitcode for p in processes], len(store.studies()))
"""


def test_processes_that_open_a_new_database_at_once_do_not_race(tmp_path: Path, new_postgresql_url: str) -> None:
    places = [str(tmp_path / f"{i}.sqlite") for i in range(2)] + [new_postgresql_url]
    done = subprocess.run(
        [sys.executable, "-c", RACE, *places],
        capture_output=True, text=True, check=False, timeout=240, env=os.environ, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.splitlines() == ["[0, 0, 0, 0] 4"] * 3, done.stderr
