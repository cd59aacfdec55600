"""Recording studies and trials: every change is one event and what it means for the rows, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any, Protocol, TypeVar, get_args

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, delete, insert, update
from sqlalchemy.dialects import postgresql, sqlite

from service.errors import ConflictError, InputError, ServiceError
from service.schema import Study, StudySpec, StudyState, Trial, TrialState
from service.store.log import Request, RequestKind, append, hold
from service.store.projection import CHANGING, new_study, new_trial, replay, study_changes, trial_changes
from service.store.reader import Reader, read_events, read_requests, read_study, read_trial, to_trial
from service.store.tables import epochs, snapshots, studies, trials
from worker.schema import AnyFacts, EpochMetrics, TrialResult

T = TypeVar("T")
_ABOUT_TRIALS = ("retry", "cancel")
_GOING_ON = ("resume", "retry")


class Told(Protocol):
    """What an optimizer learned of a trial: its objectives, or why there are none, and the seconds that it took."""

    @property
    def trial_id(self) -> str: ...

    @property
    def objectives(self) -> Mapping[str, float] | None: ...

    @property
    def failure(self) -> str | None: ...

    @property
    def cost(self) -> float | None: ...


class _TakenError(Exception):
    """The store has a study of this id."""


class Store(Reader):
    """Studies and trials in a database. One coordinator runs a study; any process may read it and ask things of it."""

    def create_study(self, spec: StudySpec, study_id: str | None = None) -> Study:
        """A new study in state WAITING.

        Args:
            spec: what it is.
            study_id: of up to 32 characters; None makes one up. Where the store has it already nothing is created, so
                that who does not know whether a call succeeded may make it again.

        Raises:
            ConflictError: the store has a study of this id that was created from another `spec`.
        """
        study_id = study_id or uuid.uuid4().hex[:12]
        document = spec.model_dump(mode="json")

        def create(connection: Connection) -> Study:
            event = append(connection, study_id, "study_created", {"spec": document})
            row = _insert(connection, studies).values(new_study(study_id, event)).on_conflict_do_nothing()
            if connection.execute(row.returning(studies.c.study_id)).one_or_none() is None:
                raise _TakenError  # so that the event is undone
            return Study(study_id=study_id, spec=spec, state=StudyState.WAITING, created_at=event.at)

        try:
            return self.database.write(create)
        except _TakenError:
            # The row may have changed since.
            if self.events(study_id, limit=1)[0].payload["spec"] != document:
                raise ConflictError(f"study {study_id} is there already, created from another spec") from None
            return self.study(study_id)

    def set_study_state(self, study_id: str, state: StudyState, reason: str = "") -> None:
        """Moves a study to `state`."""
        self._change_study(study_id, f"study_{state.lower()}", {"reason": reason})

    def end_study(self, study_id: str, state: StudyState, reason: str, answered: int) -> StudyState:
        """Moves a study to its end, or lets it wait for a coordinator where somebody has asked that it goes on.

        What is asked before this transaction is seen by it, and who asks later sees that the study has ended.

        Args:
            study_id: whose coordinator does no more.
            state: COMPLETED, FAILED or STOPPED.
            reason: for people.
            answered: `seq` of the last request that was heeded, or 0.

        Returns:
            `state`, or WAITING where a resume or retry is behind `answered`; what else was asked before that is
            answered, because the study had ended.
        """

        def end(connection: Connection) -> StudyState:
            _study_changed(connection, study_id, f"study_{state.lower()}", {"reason": reason})
            pending = read_requests(connection, study_id, answered)
            again = next((request for request in pending if request.kind in _GOING_ON), None)
            if again is None:
                return state
            for request in pending[: pending.index(again)]:
                _answer(connection, request, "the study had ended")
            _study_changed(connection, study_id, "study_waiting", {"reason": f"{again.kind} was asked for"})
            return StudyState.WAITING

        return self._write(study_id, end)

    def change_spec(self, study: Study, spec: StudySpec) -> Study:
        """Gives a study what of `spec` is different, and returns it as it is now."""
        before, after = (s.model_dump(mode="json") for s in (self.study(study.study_id).spec, spec))
        changes = {key: value for key, value in after.items() if key not in before or value != before[key]}
        self._change_study(study.study_id, "spec_changed", changes)
        return self.study(study.study_id)

    def add_trial(self, trial: Trial, snapshot: bytes | None = None) -> None:
        """Records a new trial, WAITING, in the order in which the optimizer was asked.

        Args:
            trial: of no attempt yet.
            snapshot: the optimizer's state behind this ask, or None; takes the place of an older one.

        Raises:
            ServiceError: the study has this trial already.
        """
        self.record_asked(trial.study_id, (), [trial], snapshot)

    def record_asked(
        self, study_id: str, told: Sequence[Told], trials: Sequence[Trial] = (), snapshot: bytes | None = None
    ) -> None:
        """Records what the optimizer was told, and then the new trials that it suggested, in one transaction.

        Args:
            study_id: whose optimizer.
            told: in its order.
            trials: as in `add_trial`, in their order.
            snapshot: the optimizer's state behind the last of them, or None.

        Raises:
            ServiceError: the study has one of these trials already; nothing is recorded then.
        """
        for trial in trials:
            if trial.state is not TrialState.WAITING or trial.attempt:
                raise ValueError(f"a new trial must be WAITING at attempt 0, got {trial.state} at {trial.attempt}")

        def record(connection: Connection) -> None:
            for each in told:
                _tell(connection, study_id, each.trial_id, each.objectives, each.failure, each.cost)
            for trial in trials:
                _add(connection, trial, snapshot if trial is trials[-1] else None)

        self._write(study_id, record)

    def start_attempt(self, trial: Trial) -> Trial:
        """Records that the next attempt at `trial` goes out, before it does, and returns the RUNNING trial.

        Raises:
            ServiceError: the trial is not WAITING any more; so do the other changes where the state is another.
        """
        return self.start_attempts([trial])[0]

    def start_attempts(self, waiting: Sequence[Trial]) -> list[Trial]:
        """Records attempts that go out together as `start_attempt` does, in one transaction.

        Raises:
            ServiceError: a trial is not WAITING any more; no attempt is started then.
        """

        def start(connection: Connection) -> list[Trial]:
            return [
                _changed(connection, trial, "attempt_started", {"attempt": trial.attempt + 1}, TrialState.WAITING)
                for trial in waiting
            ]

        return self._write_all({trial.study_id for trial in waiting}, start)

    def finish_attempt(self, result: TrialResult, state: TrialState) -> bool:
        """Records the result of an attempt and moves its trial to `state`; True exactly once an attempt.

        WAITING gives the trial back for another attempt. A late or repeated result is logged and changes nothing.
        """
        return self.finish_attempts([(result, state)])[0] is not None

    def finish_attempts(self, finished: Sequence[tuple[TrialResult, TrialState]]) -> list[Trial | None]:
        """Records results as `finish_attempt` does, in one transaction: all wait for the disk together.

        Returns:
            For each result the trial as it is then, or None where the result is late.
        """
        if any(state is TrialState.RUNNING for _, state in finished):
            raise ValueError("a finished attempt cannot leave its trial RUNNING")

        def finish(connection: Connection) -> list[Trial | None]:
            return [_finish(connection, result, state) for result, state in finished]

        return self._write_all({result.study_id for result, _ in finished}, finish)

    def give_back(self, trial: Trial, reason: str) -> None:
        """Records that an attempt ended with nothing to show; the trial is WAITING again."""
        payload = {"attempt": trial.attempt, "reason": reason}
        self._change(trial, "attempt_abandoned", payload, TrialState.RUNNING)

    def stop_trial(self, trial: Trial, reason: str) -> Trial:
        """Records that a trial that waits or runs is given up, and returns the STOPPED trial."""
        return self._change(trial, "trial_stopped", {"reason": reason}, TrialState.WAITING, TrialState.RUNNING)

    def retry_trial(self, trial: Trial, reason: str) -> Trial:
        """Records that a FAILED or STOPPED trial is to be tried again, and returns the WAITING trial."""
        return self._change(trial, "trial_retried", {"reason": reason}, TrialState.FAILED, TrialState.STOPPED)

    def record_told(
        self, study_id: str, trial_id: str, objectives: Mapping[str, float] | None = None, failure: str | None = None
    ) -> None:
        """Records what the optimizer has learned of a trial, so that its state can be replayed in order."""
        self._write(study_id, lambda connection: _tell(connection, study_id, trial_id, objectives, failure))

    def record_facts(self, study_id: str, facts: AnyFacts) -> None:
        """Records what a worker knows of the study's names."""
        self._log(study_id, "facts_found", facts.model_dump(mode="json"), None)

    def record_warm_start(self, study_id: str, configs: Sequence[dict[str, Any]], left_out: Sequence[str]) -> None:
        """Records the configs of an earlier study that this one begins with, and a line about each left out."""
        self._log(study_id, "warm_start_found", {"configs": list(configs), "left_out": list(left_out)}, None)

    def record_final(self, study_id: str, trial_id: str, seed: int, result: TrialResult) -> None:
        """Records a final training of a trial's config, judged by the test split."""
        self._log(study_id, "final_result", {"seed": seed, "result": result.model_dump(mode="json")}, trial_id)

    def request(self, study_id: str, kind: RequestKind, trial_id: str | None = None) -> Request:
        """Asks something of the study's coordinator, which reads it in its own time.

        Raises:
            InputError: no such kind, or a trial that is missing or meant for another kind.
            KeyError: there is no such study or trial.
        """
        if kind not in get_args(RequestKind):
            raise InputError(f"request must be {', '.join(get_args(RequestKind))}, got {kind!r}")
        if (trial_id is not None) != (kind in _ABOUT_TRIALS):
            raise InputError(
                f"trial_id must be given with {' and '.join(_ABOUT_TRIALS)} alone, got {trial_id} with {kind}"
            )

        def ask(connection: Connection) -> Request:
            if trial_id is not None:
                read_trial(connection, study_id, trial_id)
            event = append(connection, study_id, f"{kind}_requested", {}, trial_id)
            return Request(study_id, event.seq, kind, trial_id, event.at)

        return self._write(study_id, ask)

    def answer(self, request: Request, outcome: str) -> None:
        """Records what came of a request; a coordinator that starts again reads only those behind it."""
        self._write(request.study_id, lambda connection: _answer(connection, request, outcome))

    def record_epochs(self, metrics: Sequence[EpochMetrics]) -> None:
        """Records what epochs came to, each once however often it is told; they are no events."""
        rows = [m.model_dump() for m in metrics]
        if rows:
            self.database.write(lambda c: c.execute(_insert(c, epochs).on_conflict_do_nothing(), rows))

    def save_snapshot(self, study_id: str, seq: int, data: bytes) -> None:
        """Keeps the optimizer's state as of event `seq` in place of an older one."""
        self._write(study_id, lambda connection: _put_snapshot(connection, study_id, seq, data))

    def rebuild(self, study_id: str) -> None:
        """Makes the rows of a study and its trials anew from the log alone.

        Raises:
            KeyError: the log knows no such study.
        """

        def rebuild(connection: Connection) -> None:
            with suppress(KeyError):  # the study's row may be what was lost
                hold(connection, study_id)
            rows = replay(study_id, read_events(connection, study_id))
            if not rows.study:
                raise KeyError(f"no study {study_id!r}")
            connection.execute(_upsert(connection, studies, rows.study, "study_id"))
            connection.execute(delete(trials).where(trials.c.study_id == study_id))
            if rows.trials:
                connection.execute(insert(trials), list(rows.trials.values()))

        self.database.write(rebuild)

    def _write(self, study_id: str, work: Callable[[Connection], T]) -> T:
        """What `work` returns of a transaction that holds the study; see `hold`."""
        return self._write_all({study_id}, work)

    def _write_all(self, study_ids: Set[str], work: Callable[[Connection], T]) -> T:
        """What `work` returns of a transaction that holds these studies, each in its turn."""

        def held(connection: Connection) -> T:
            for study_id in sorted(study_ids):
                hold(connection, study_id)
            return work(connection)

        return self.database.write(held)

    def _log(self, study_id: str, kind: str, payload: dict[str, Any], trial_id: str | None) -> None:
        """An event that changes no row."""
        self._write(study_id, lambda connection: append(connection, study_id, kind, payload, trial_id))

    def _change_study(self, study_id: str, kind: str, payload: dict[str, Any]) -> None:
        self._write(study_id, lambda connection: _study_changed(connection, study_id, kind, payload))

    def _change(self, trial: Trial, kind: str, payload: dict[str, Any], *states: TrialState) -> Trial:
        return self._write(trial.study_id, lambda connection: _changed(connection, trial, kind, payload, *states))


def _study_changed(connection: Connection, study_id: str, kind: str, payload: dict[str, Any]) -> None:
    row = dict(read_study(connection, study_id))
    changes = study_changes(append(connection, study_id, kind, payload), row)
    connection.execute(update(studies).where(studies.c.study_id == study_id).values(changes))


def _answer(connection: Connection, request: Request, outcome: str) -> None:
    payload = {"request": request.seq, "outcome": outcome}
    append(connection, request.study_id, "request_answered", payload, request.trial_id)


def _add(connection: Connection, trial: Trial, snapshot: bytes | None) -> None:
    document = trial.model_dump(mode="json", exclude=CHANGING)
    event = append(connection, trial.study_id, "trial_added", document, trial.trial_id)
    row = _insert(connection, trials).values(new_trial(trial.study_id, event)).on_conflict_do_nothing()
    if connection.execute(row.returning(trials.c.added)).one_or_none() is None:
        raise ServiceError(f"study {trial.study_id} has a trial {trial.trial_id} already")
    if snapshot is not None:
        _put_snapshot(connection, trial.study_id, event.seq, snapshot)


def _tell(
    connection: Connection,
    study_id: str,
    trial_id: str,
    objectives: Mapping[str, float] | None,
    failure: str | None,
    cost: float | None = None,
) -> None:
    payload = {"objectives": None if objectives is None else dict(objectives), "failure": failure, "cost": cost}
    append(connection, study_id, "trial_told", payload, trial_id)


def _changed(connection: Connection, trial: Trial, kind: str, payload: dict[str, Any], *states: TrialState) -> Trial:
    """Adds an event about `trial`, which must be in one of `states` and at its attempt, and returns the trial then."""
    row = read_trial(connection, trial.study_id, trial.trial_id)
    if row["state"] not in states or row["attempt"] != trial.attempt:
        raise ServiceError(
            f"trial {trial.trial_id} is {row['state']} at attempt {row['attempt']}, not {' or '.join(states)} "
            f"at {trial.attempt}: something else has changed it"
        )
    return _change_trial(connection, row, kind, payload)


def _finish(connection: Connection, result: TrialResult, state: TrialState) -> Trial | None:
    row = read_trial(connection, result.study_id, result.trial_id)
    document = result.model_dump(mode="json")
    if row["state"] == TrialState.RUNNING and row["attempt"] == result.attempt:
        return _change_trial(connection, row, "attempt_finished", {"result": document, "state": state})
    append(connection, result.study_id, "late_result", {"result": document}, result.trial_id)
    return None


def _change_trial(connection: Connection, row: RowMapping, kind: str, payload: dict[str, Any]) -> Trial:
    """Adds an event about the trial of `row`, and returns the trial that it makes of it."""
    study_id, trial_id = row["study_id"], row["trial_id"]
    changes = trial_changes(append(connection, study_id, kind, payload, trial_id))
    key = (trials.c.study_id == study_id) & (trials.c.trial_id == trial_id)
    connection.execute(update(trials).where(key).values(changes))
    return to_trial(dict(row) | changes)


def _put_snapshot(connection: Connection, study_id: str, seq: int, data: bytes) -> None:
    row = {"study_id": study_id, "seq": seq, "data": data}
    connection.execute(_upsert(connection, snapshots, row, "study_id", snapshots.c.seq <= seq))


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that may say what happens to a row that is there already."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _upsert(
    connection: Connection, table: Table, row: dict[str, Any], key: str, where: ColumnElement[bool] | None = None
) -> sqlite.Insert | postgresql.Insert:
    """Puts `row` in the place of the one with the same key, where `where` holds of that."""
    return _insert(connection, table).values(row).on_conflict_do_update(index_elements=[key], set_=row, where=where)
