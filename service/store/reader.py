"""Reading studies, trials and the log: whole, in pages, or only what is new."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, func, select, tuple_

from service.schema import Study, StudySpec, StudyState, Trial, TrialState
from service.store.database import PATIENCE_SECONDS, Database
from service.store.log import Event, Request, RequestKind
from service.store.migration import migrate
from service.store.projection import CHANGING
from service.store.tables import epochs, events, snapshots, studies, trials
from worker.schema import AnyFacts, EpochMetrics, TrialResult

T = TypeVar("T")
_FACTS: TypeAdapter[AnyFacts] = TypeAdapter(AnyFacts)
_REQUESTS: dict[str, RequestKind] = {
    "pause_requested": "pause",
    "resume_requested": "resume",
    "stop_requested": "stop",
    "retry_requested": "retry",
    "cancel_requested": "cancel",
}


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a long list; `next` is what to give as `after` for the part behind it, None at the end."""

    items: list[T]
    next: int | None


@dataclass(frozen=True)
class Snapshot:
    """What the optimizer kept of its own state, as of event `seq`."""

    seq: int
    data: bytes


class Reader:
    """What a database says of studies, while others write; opening it makes or upgrades its tables.

    Args:
        database: path of a SQLite file, created if missing; a URL `sqlite:///FILE` or `postgresql://USER@HOST/NAME`;
            None keeps everything in memory, for one thread.
        patience_seconds: how long one call keeps trying where the database is busy or lost.

    Raises:
        InputError: the database is something else or of a newer version, or cannot be used.
    """

    def __init__(self, database: Path | str | None, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.database = Database(database, patience_seconds)
        try:
            migrate(self.database)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives back all connections."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def studies(
        self, state: StudyState | None = None, *, limit: int | None = None, newest_first: bool = False
    ) -> list[Study]:
        """Studies by the time at which they were created, all or those in `state`."""
        query = select(studies)
        if state is not None:
            query = query.where(studies.c.state == state)
        order = (studies.c.created_at, studies.c.study_id)
        query = query.order_by(*(column.desc() for column in order) if newest_first else order)
        return [_study(row) for row in self._rows(query.limit(limit))]

    def studies_page(
        self, state: StudyState | None = None, *, name: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[Study]:
        """Up to `limit` studies, the newest first.

        Args:
            state: of the studies, or None for all.
            name: of the studies, or None for all.
            after: id of the last study of the page before; None for the first page.
            limit: 1 or more.

        Raises:
            KeyError: there is no study `after`.
        """
        query = select(studies)
        if state is not None:
            query = query.where(studies.c.state == state)
        if name is not None:
            query = query.where(studies.c.name == name)
        if after is not None:
            last, created_at = self.study(after), studies.c.created_at
            is_of_that_moment = (created_at == last.created_at) & (studies.c.study_id < after)
            query = query.where((created_at < last.created_at) | is_of_that_moment)
        query = query.order_by(studies.c.created_at.desc(), studies.c.study_id.desc())
        return [_study(row) for row in self._rows(query.limit(limit))]

    def study(self, study_id: str) -> Study:
        """The study with this id.

        Raises:
            KeyError: there is none.
        """

        def read(connection: Connection) -> Study:
            study = _study(read_study(connection, study_id))
            return study.model_copy(update={"reason": _reason(connection, study)})

        return self.database.read(read)

    def n_studies(self) -> dict[str, int]:
        """How many studies are in each state: waiting, running, paused, completed, failed, stopped."""
        query = select(studies.c.state, func.count().label("n")).group_by(studies.c.state)
        return {state.lower(): 0 for state in StudyState} | {
            row["state"].lower(): row["n"] for row in self._rows(query)
        }

    def n_trials(self, study_id: str) -> dict[str, int]:
        """How many trials of a study are in each state: waiting, running, completed, failed, stopped."""
        return self._counts(trials.c.study_id == study_id).get(study_id, _no_trials())

    def n_trials_of_all(self, study_ids: Collection[str] | None = None) -> dict[str, dict[str, int]]:
        """How many trials are in each state, by study, of all or these; studies without trials are left out."""
        return self._counts() if study_ids is None else self._counts(trials.c.study_id.in_(study_ids))

    def trial(self, study_id: str, trial_id: str) -> Trial:
        """One trial.

        Raises:
            KeyError: there is none.
        """
        return to_trial(self.database.read(lambda connection: read_trial(connection, study_id, trial_id)))

    def trials(self, study_id: str, state: TrialState | None = None) -> list[Trial]:
        """Trials of a study in the order in which they were added, all or those in `state`."""
        return [to_trial(row) for row in self._rows(_trials(study_id, state).order_by(trials.c.added))]

    def trials_page(
        self,
        study_id: str,
        state: TrialState | None = None,
        *,
        after: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> Page[Trial]:
        """Up to `limit` trials in the order in which they were added, or in the opposite one.

        Args:
            study_id: whose trials.
            state: of the trials, or None for all.
            after: `next` of the page before; None for the first page.
            limit: 1 or more.
            newest_first: the trial added last comes first.
        """
        rows = self._rows(_part(_trials(study_id, state), trials.c.added, after, limit + 1, newest_first))
        items = rows[:limit]
        return Page([to_trial(row) for row in items], items[-1]["added"] if len(rows) > limit else None)

    def trials_changed(
        self, study_id: str, after_seq: int, limit: int | None = None, *, state: TrialState | None = None
    ) -> list[Trial]:
        """Trials with an event after number `after_seq`, as they are now, in the order of their last events.

        All, or those that are in `state` now.
        The `seq` of the last one is the next `after_seq`; then nothing is missed, and what changed twice comes once.
        """
        return [to_trial(row) for row in self._rows(_part(_trials(study_id, state), trials.c.seq, after_seq, limit))]

    def events(
        self, study_id: str, after: int | None = None, *, limit: int | None = None, newest_first: bool = False
    ) -> list[Event]:
        """The log of a study behind `seq` number `after`; newest first, what comes before that number."""
        query = select(events).where(events.c.study_id == study_id)
        return [_event(row) for row in self._rows(_part(query, events.c.seq, after, limit, newest_first))]

    def facts(self, study_id: str) -> AnyFacts | None:
        """What a worker knew last of the study's names; None where nobody has been asked."""
        query = _part(_by_kind(study_id, ["facts_found"]), events.c.seq, limit=1, newest_first=True)
        return next((_FACTS.validate_python(row["payload"]) for row in self._rows(query)), None)

    def warm_start(self, study_id: str) -> list[dict[str, Any]] | None:
        """Configs of an earlier study that this one begins with; None where they have not been recorded."""
        query = _part(_by_kind(study_id, ["warm_start_found"]), events.c.seq, limit=1)
        return next((row["payload"]["configs"] for row in self._rows(query)), None)

    def final_results(self, study_id: str) -> dict[tuple[str, int], TrialResult]:
        """The final trainings by trial and seed."""
        return {
            (row["trial_id"], row["payload"]["seed"]): TrialResult.model_validate(row["payload"]["result"])
            for row in self._rows(_by_kind(study_id, ["final_result"]).order_by(events.c.seq))
        }

    def requests(self, study_id: str, after: int = 0) -> list[Request]:
        """What was asked of a study's coordinator after `seq` number `after`; costs no more where nothing was."""
        return self.database.read(lambda connection: read_requests(connection, study_id, after))

    def answered(self, study_id: str) -> int:
        """`seq` of the last request that a coordinator answered; 0 where there is none."""
        query = _part(_by_kind(study_id, ["request_answered"]), events.c.seq, limit=1, newest_first=True)
        return max((row["payload"]["request"] for row in self._rows(query)), default=0)

    def epochs(self, study_id: str, trial_id: str) -> list[EpochMetrics]:
        """What each epoch of a trial came to, by attempt and epoch; some may be missing."""
        query = select(epochs).where(epochs.c.study_id == study_id, epochs.c.trial_id == trial_id)
        rows = self._rows(query.order_by(epochs.c.attempt, epochs.c.epoch))
        return [EpochMetrics.model_validate(dict(row)) for row in rows]

    def epochs_done(self, running: Collection[Trial]) -> dict[str, int]:
        """By trial the epochs that the present attempt is through with; without those that have told of none yet."""
        attempts = {(trial.study_id, trial.trial_id, trial.attempt) for trial in running}
        columns = epochs.c.study_id, epochs.c.trial_id, epochs.c.attempt
        query = select(*columns, func.max(epochs.c.epoch).label("epoch")).group_by(*columns)
        rows = self._rows(query.where(tuple_(*columns).in_(attempts))) if attempts else []
        return {row["trial_id"]: row["epoch"] for row in rows}

    def latest_snapshot(self, study_id: str) -> Snapshot | None:
        """The optimizer's latest snapshot, or None."""
        for row in self._rows(select(snapshots).where(snapshots.c.study_id == study_id)):
            return Snapshot(row["seq"], row["data"])
        return None

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        return self.database.read(lambda connection: connection.execute(query).mappings().all())

    def _counts(self, *conditions: ColumnElement[bool]) -> dict[str, dict[str, int]]:
        columns = trials.c.study_id, trials.c.state
        counts: dict[str, dict[str, int]] = {}
        query = select(*columns, func.count().label("n")).where(*conditions).group_by(*columns)
        for row in self._rows(query):
            counts.setdefault(row["study_id"], _no_trials())[row["state"].lower()] = row["n"]
        return counts


def read_study(connection: Connection, study_id: str) -> RowMapping:
    """The row of a study.

    Raises:
        KeyError: there is none.
    """
    return _one(connection, studies, f"no study {study_id!r}", study_id=study_id)


def read_trial(connection: Connection, study_id: str, trial_id: str) -> RowMapping:
    """The row of a trial.

    Raises:
        KeyError: there is none.
    """
    missing = f"no trial {trial_id!r} in study {study_id!r}"
    return _one(connection, trials, missing, study_id=study_id, trial_id=trial_id)


def read_events(connection: Connection, study_id: str) -> list[Event]:
    """The whole log of a study."""
    query = select(events).where(events.c.study_id == study_id).order_by(events.c.seq)
    return [_event(row) for row in connection.execute(query).mappings()]


def read_requests(connection: Connection, study_id: str, after: int) -> list[Request]:
    """What was asked of a study's coordinator after `seq` number `after`."""
    # Sorted here: asked to sort, SQLite reads the whole log in order in place of the index by kind.
    rows = connection.execute(_by_kind(study_id, list(_REQUESTS)).where(events.c.seq > after)).mappings()
    found = [Request(study_id, row["seq"], _REQUESTS[row["kind"]], row["trial_id"], row["at"]) for row in rows]
    return sorted(found, key=lambda request: request.seq)


def to_trial(row: RowMapping | dict[str, Any]) -> Trial:
    """The trial of a row."""
    return Trial.model_validate(row["trial"] | {name: row[name] for name in CHANGING})


def _one(connection: Connection, table: Table, missing: str, **key: str) -> RowMapping:
    row = connection.execute(select(table).filter_by(**key)).mappings().one_or_none()
    if row is None:
        raise KeyError(missing)
    return row


def _trials(study_id: str, state: TrialState | None = None) -> Select[Any]:
    query = select(trials).where(trials.c.study_id == study_id)
    return query if state is None else query.where(trials.c.state == state)


def _by_kind(study_id: str, kinds: list[str]) -> Select[Any]:
    return select(events).where(events.c.study_id == study_id, events.c.kind.in_(kinds))


def _part(
    query: Select[Any],
    column: ColumnElement[int],
    after: int | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> Select[Any]:
    """Up to `limit` rows by `column`, behind `after` in that order."""
    if after is not None:
        query = query.where(column < after if newest_first else column > after)
    return query.order_by(column.desc() if newest_first else column).limit(limit)


def _no_trials() -> dict[str, int]:
    return {state.lower(): 0 for state in TrialState}


def _study(row: RowMapping) -> Study:
    return Study(
        study_id=row["study_id"],
        spec=StudySpec.model_validate(row["spec"]),
        state=StudyState(row["state"]),
        created_at=row["created_at"],
    )


def _reason(connection: Connection, study: Study) -> str | None:
    """What was said when it came into its state, the last time."""
    rows = connection.execute(_by_kind(study.study_id, [f"study_{study.state.lower()}"])).mappings()
    last = max(rows, key=lambda row: int(row["seq"]), default=None)
    return None if last is None else last["payload"].get("reason") or None


def _event(row: RowMapping) -> Event:
    return Event(row["seq"], row["kind"], row["trial_id"], row["at"], row["payload"])
