"""Recording and reading studies and trials; every change is one event and its projection in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Row, create_engine, event, insert, select, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from service.errors import InputError, ServiceError
from service.schema import Budget, Study, StudySpec, StudyState, Trial, TrialState
from service.store.tables import events, metadata, studies, trials
from worker.schema import TrialResult

# Columns of their own; everything else of a trial never changes and lies in one JSON value.
_CHANGING = {"state", "attempt", "seq", "result"}


@dataclass(frozen=True)
class Event:
    """One line of the log. `seq` grows by the order of commits."""

    seq: int
    kind: str
    trial_id: str | None
    at: datetime
    payload: dict[str, Any]


class Store:
    """Studies and trials in a SQLite file, or in memory. One coordinator writes; any number may read.

    Args:
        path: the file, created if missing; None keeps everything in memory, for one thread.

    Raises:
        InputError: the file is something else, or cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        if path is None:
            self._engine = create_engine("sqlite://", poolclass=StaticPool)
        else:
            self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _configure)
        try:
            metadata.create_all(self._engine)
        except DatabaseError as error:
            raise InputError(f"{path} is no store of studies: {error.orig}") from error

    def close(self) -> None:
        """Gives back all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def create_study(self, spec: StudySpec) -> Study:
        """A new study in state WAITING."""
        study = Study(
            study_id=uuid.uuid4().hex[:12],
            spec=spec,
            state=StudyState.WAITING,
            created_at=datetime.now(UTC),
        )
        document = spec.model_dump(mode="json")
        with self._engine.begin() as connection:
            connection.execute(
                insert(studies).values(
                    study_id=study.study_id,
                    name=spec.name,
                    state=study.state,
                    created_at=study.created_at.isoformat(),
                    spec=document,
                )
            )
            _append(connection, study.study_id, "study_created", {"spec": document})
        return study

    def studies(self) -> list[Study]:
        """All studies, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(studies).order_by(studies.c.created_at))
            return [_study(row) for row in rows]

    def study(self, study_id: str) -> Study:
        """The study with this id.

        Raises:
            KeyError: there is none.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(studies).where(studies.c.study_id == study_id)).one_or_none()
        if row is None:
            raise KeyError(f"no study {study_id!r}")
        return _study(row)

    def set_study_state(self, study_id: str, state: StudyState, reason: str = "") -> None:
        """Moves a study to `state`."""
        with self._engine.begin() as connection:
            connection.execute(update(studies).where(studies.c.study_id == study_id).values(state=state))
            _append(connection, study_id, f"study_{state.lower()}", {"reason": reason})

    def set_budget(self, study: Study, budget: Budget) -> Study:
        """Gives a study another budget and returns it as it is now."""
        spec = study.spec.model_copy(update={"budget": budget})
        with self._engine.begin() as connection:
            connection.execute(
                update(studies).where(studies.c.study_id == study.study_id).values(spec=spec.model_dump(mode="json"))
            )
            payload = {"budget": budget.model_dump(mode="json")}
            _append(connection, study.study_id, "budget_changed", payload)
        return study.model_copy(update={"spec": spec})

    def add_trial(self, trial: Trial) -> None:
        """Records a new trial, WAITING, in the order in which the optimizer was asked."""
        document = trial.model_dump(mode="json", exclude=_CHANGING)
        with self._engine.begin() as connection:
            seq = _append(connection, trial.study_id, "trial_added", document, trial.trial_id)
            connection.execute(
                insert(trials).values(
                    study_id=trial.study_id,
                    trial_id=trial.trial_id,
                    state=trial.state,
                    attempt=trial.attempt,
                    added=seq,
                    seq=seq,
                    trial=document,
                )
            )

    def start_attempt(self, trial: Trial) -> Trial:
        """Records that the next attempt at `trial` goes out, before it does, and returns the RUNNING trial."""
        attempt = trial.attempt + 1
        with self._changing(trial, "attempt_started", {"attempt": attempt}) as values:
            values |= {"state": TrialState.RUNNING, "attempt": attempt}
        return self.trial(trial.study_id, trial.trial_id)

    def finish_attempt(self, result: TrialResult, state: TrialState) -> bool:
        """Records the result of an attempt and moves its trial to `state`; True exactly once an attempt.

        WAITING gives the trial back for another attempt. A late or repeated result is logged and changes nothing.
        """
        trial = self.trial(result.study_id, result.trial_id)
        document = result.model_dump(mode="json")
        if trial.state is not TrialState.RUNNING or trial.attempt != result.attempt:
            with self._engine.begin() as connection:
                late = {"result": document}
                _append(connection, trial.study_id, "late_result", late, trial.trial_id)
            return False
        payload: dict[str, Any] = {"result": document, "state": state}
        with self._changing(trial, "attempt_finished", payload) as values:
            values |= {"state": state, "result": document}
        return True

    def give_back(self, trial: Trial, reason: str) -> None:
        """Records that an attempt ended with nothing to show; the trial is WAITING again."""
        payload = {"attempt": trial.attempt, "reason": reason}
        with self._changing(trial, "attempt_abandoned", payload) as values:
            values |= {"state": TrialState.WAITING}

    def record_told(self, study_id: str, trial_id: str) -> None:
        """Records that the optimizer has learned of a trial, so that its state can be replayed in order."""
        with self._engine.begin() as connection:
            _append(connection, study_id, "trial_told", {}, trial_id)

    def record_final(self, study_id: str, trial_id: str, seed: int, result: TrialResult) -> None:
        """Records a final training of a trial's config, judged by the test split."""
        payload = {"seed": seed, "result": result.model_dump(mode="json")}
        with self._engine.begin() as connection:
            _append(connection, study_id, "final_result", payload, trial_id)

    def final_results(self, study_id: str) -> dict[tuple[str, int], TrialResult]:
        """The final trainings by trial and seed."""
        query = select(events).where(events.c.study_id == study_id, events.c.kind == "final_result")
        with self._engine.connect() as connection:
            return {
                (row.trial_id, row.payload["seed"]): TrialResult.model_validate(row.payload["result"])
                for row in connection.execute(query.order_by(events.c.seq))
            }

    def trial(self, study_id: str, trial_id: str) -> Trial:
        """One trial.

        Raises:
            KeyError: there is none.
        """
        condition = (trials.c.study_id == study_id) & (trials.c.trial_id == trial_id)
        with self._engine.connect() as connection:
            row = connection.execute(select(trials).where(condition)).one_or_none()
        if row is None:
            raise KeyError(f"no trial {trial_id!r} in study {study_id!r}")
        return _trial(row)

    def trials(self, study_id: str, state: TrialState | None = None) -> list[Trial]:
        """Trials of a study in the order in which they were added, all or those in `state`."""
        query = select(trials).where(trials.c.study_id == study_id)
        if state is not None:
            query = query.where(trials.c.state == state)
        with self._engine.connect() as connection:
            return [_trial(row) for row in connection.execute(query.order_by(trials.c.added))]

    def events(self, study_id: str, after: int = 0) -> list[Event]:
        """The log of a study after `seq` number `after`."""
        query = select(events).where(events.c.study_id == study_id, events.c.seq > after).order_by(events.c.seq)
        with self._engine.connect() as connection:
            return [
                Event(row.seq, row.kind, row.trial_id, datetime.fromisoformat(row.at), row.payload)
                for row in connection.execute(query)
            ]

    @contextmanager
    def _changing(self, trial: Trial, kind: str, payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One event about `trial` and the new column values that the caller fills in, in one transaction."""
        with self._engine.begin() as connection:
            values: dict[str, Any] = {"seq": _append(connection, trial.study_id, kind, payload, trial.trial_id)}
            yield values
            condition = (trials.c.study_id == trial.study_id) & (trials.c.trial_id == trial.trial_id)
            if connection.execute(update(trials).where(condition).values(values)).rowcount != 1:
                raise ServiceError(f"trial {trial.trial_id} vanished from the store")


def _append(
    connection: Connection,
    study_id: str,
    kind: str,
    payload: dict[str, Any],
    trial_id: str | None = None,
) -> int:
    """Adds one event and returns its `seq`."""
    row = connection.execute(
        insert(events).values(
            study_id=study_id,
            trial_id=trial_id,
            kind=kind,
            at=datetime.now(UTC).isoformat(),
            payload=payload,
        )
    )
    key = row.inserted_primary_key
    assert key is not None
    return int(key[0])


def _configure(connection: Any, _record: object) -> None:
    """Readers do not wait for the writer, and a writer waits for another one."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=30000")


def _study(row: Row[Any]) -> Study:
    return Study(
        study_id=row.study_id,
        spec=StudySpec.model_validate(row.spec),
        state=StudyState(row.state),
        created_at=datetime.fromisoformat(row.created_at),
    )


def _trial(row: Row[Any]) -> Trial:
    return Trial.model_validate(
        row.trial | {"state": row.state, "attempt": row.attempt, "seq": row.seq, "result": row.result}
    )
