"""What the store costs on this machine, in SQLite and in PostgreSQL: commits wait for the disk, as in earnest."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import insert

from service.schema import Study, TrialState
from service.store import Store, tables
from service.store.projection import CHANGING
from tests.service.fakes import completed, study_spec, trial
from tests.service.postgresql import NoServerError, running_server
from worker.schema import EpochMetrics

N_TRIALS = 10_000
N_RECORDED = 400
N_ROUNDS = 15


def main() -> None:
    """Prints one table with a column a database."""
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        columns["SQLite"] = measure(Path(folder) / "study.sqlite")
    try:
        with running_server(is_durable=True) as server:
            # Its own housekeeping does this within a minute of so many new rows.
            columns["PostgreSQL"] = measure(server.url(), lambda: server.execute("VACUUM ANALYZE"))
    except NoServerError as error:
        print(f"NOT MEASURED: PostgreSQL: {error}")
    table = Table(
        title=f"the store beside a study of {N_TRIALS:,} trials: wall time (processor time of this process), medians"
    )
    for heading in ("", *columns):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in columns["SQLite"]:
        table.add_row(name, *(column[name] for column in columns.values()))
    Console(width=120).print(table)


def measure(database: Path | str, settle: Callable[[], object] = lambda: None) -> dict[str, str]:
    """Every figure of one database, as text; `settle` is called once the large study is there."""
    with Store(database) as store:
        study = store.create_study(study_spec())
        filled = {"to make rows anew from the log": _once(lambda: _fill(store, study))}
        settle()
        small = store.create_study(study_spec())
        recorded = _recording(store, small)
        others = {"to open": _often(lambda: Store(database).close()), "one write to the disk": _often(_sync)}
        return recorded | _reading(store, study) | filled | others


def _recording(store: Store, study: Study) -> dict[str, str]:
    """Changes a second, one transaction each."""
    trials = [trial(str(i), study_id=study.study_id) for i in range(N_RECORDED)]
    results = [completed(t.trial_id, study_id=study.study_id, error=0.1, deployment_energy=1e-7) for t in trials]
    curve = [
        EpochMetrics(study_id=study.study_id, trial_id="0", attempt=1, epoch=i, training_loss=0.1, seconds=1.0)
        for i in range(N_RECORDED)
    ]
    done = TrialState.COMPLETED
    half = N_RECORDED // 2
    tens = [[(r, done) for r in results[i : i + 10]] for i in range(half, N_RECORDED, 10)]
    return {
        "trials added a second": _rate([lambda t=t: store.add_trial(t, b"x" * 10_000) for t in trials]),
        "attempts started a second": _rate([lambda t=t: store.start_attempt(t) for t in trials]),
        "results recorded a second, one by one": _rate(
            [lambda r=r: store.finish_attempt(r, done) for r in results[:half]]
        ),
        "results recorded a second, in tens": _rate([lambda t=t: store.finish_attempts(t) for t in tens], 10),
        "epochs recorded a second, in tens": _rate(
            [lambda i=i: store.record_epochs(curve[i : i + 10]) for i in range(0, N_RECORDED, 10)], 10
        ),
    }


def _reading(store: Store, study: Study) -> dict[str, str]:
    i, middle = study.study_id, N_TRIALS
    return {
        "page of 100 trials": _often(lambda: store.trials_page(i, after=middle)),
        "page of 200 trials": _often(lambda: store.trials_page(i, after=middle, limit=200)),
        "page of the 200 newest trials": _often(lambda: store.trials_page(i, limit=200, newest_first=True)),
        "trials that changed, 100 of them": _often(lambda: store.trials_changed(i, middle, limit=100)),
        "100 events": _often(lambda: store.events(i, middle, limit=100)),
        "counts by state": _often(lambda: store.n_trials(i)),
        "no new requests": _often(lambda: store.requests(i)),
        "all trials": _once(lambda: store.trials(i)),
        "the whole log": _once(lambda: store.events(i)),
    }


def _fill(store: Store, study: Study) -> None:
    """Writes the log of trials that completed, and the rows that follow from it."""
    rows, at = [], datetime.now(UTC)

    def add(kind: str, trial_id: str, payload: dict[str, object]) -> None:
        rows.append(
            {"study_id": study.study_id, "trial_id": trial_id, "kind": kind, "at": at, "payload": payload},
        )

    for number in range(N_TRIALS):
        name = str(number)
        add("trial_added", name, trial(name, study_id=study.study_id).model_dump(mode="json", exclude=CHANGING))
        add("attempt_started", name, {"attempt": 1})
        result = completed(name, study_id=study.study_id, error=0.1, deployment_energy=1e-7)
        add("attempt_finished", name, {"result": result.model_dump(mode="json"), "state": "COMPLETED"})
    store.database.write(lambda connection: connection.execute(insert(tables.events), rows))
    store.rebuild(study.study_id)


def _sync() -> None:
    """What no commit can do without."""
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 8192)
        file.flush()
        os.fsync(file.fileno())


def _rate(calls: list[Callable[[], object]], n_each: int = 1) -> str:
    n = n_each * len(calls)
    wall, processor = _seconds(lambda: [call() for call in calls])
    return f"{n / wall:,.0f} / s ({1e3 * processor / n:.1f} ms)"


def _often(call: Callable[[], object]) -> str:
    wall, processor = (statistics.median(each) for each in zip(*(_seconds(call) for _ in range(N_ROUNDS)), strict=True))
    return f"{1e3 * wall:.1f} ms ({1e3 * processor:.1f} ms)"


def _once(call: Callable[[], object]) -> str:
    return "{:.2f} s ({:.2f} s)".format(*_seconds(call))


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall time, and processor time of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
