"""Every attempt at a trial as a row, read from the log of its study: when, where, how it ended and what it spent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

from service.ledger import Line, result_of
from service.schema import TrialState
from service.spread import uncertainty_of
from worker.schema import TrialResult

ATTEMPT_COLUMNS = (
    "trial_id", "attempt", "started_at", "ended_at", "outcome", "failure", "worker", "device", "duration_seconds",
    "joules", "method", "quality", "uncertainty_joules", "emissions_grams", "inference_joules", "flags",
)  # fmt: skip
_RUNNING = "running"


class Event(Line, Protocol):
    """What is read of a line of the log."""

    @property
    def trial_id(self) -> str | None: ...

    @property
    def at(self) -> datetime: ...


class Attempts:
    """The attempts that a log tells of, as far as it has been read.

    `outcome` is `running`, `completed`, `failed`, `stopped`, `retried` (its trial was given back), `abandoned` (nothing
    came back) or `late` (a result that changed nothing). `joules` are of the attempt alone, without what
    `inference_joules` says was spent on repeated passes.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int], dict[str, Any]] = {}
        self._running: dict[str, tuple[str, int]] = {}
        self._late: list[dict[str, Any]] = []

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The attempts in the order in which they began, and behind them results that nobody waited for any more.

        What is read later makes new rows and changes none of these.
        """
        return [*self._rows.values(), *self._late]

    def add(self, log: Iterable[Event]) -> None:
        """Takes in further lines of the log."""
        for event in log:
            if event.kind == "late_result":
                self._late.append(_ended(_row(event), event, "late"))
            elif event.kind == "attempt_started":
                self._running[str(event.trial_id)] = key = _key(event)
                self._rows[key] = self._row(event) | {"started_at": event.at, "outcome": _RUNNING}
            elif event.kind in ("attempt_finished", "attempt_abandoned"):
                self._running.pop(str(event.trial_id), None)
                self._rows[_key(event)] = _ended(self._row(event), event, _outcome(event))
            elif event.kind == "trial_stopped" and (stopped := self._running.pop(str(event.trial_id), None)):
                # Also a trial that waits can be given up, which ends no attempt.
                self._rows[stopped] = _ended(self._rows[stopped], event, "stopped")

    def _row(self, event: Event) -> dict[str, Any]:
        return self._rows.get(_key(event)) or _row(event)


def attempt_rows(log: Iterable[Event]) -> list[dict[str, Any]]:
    """The attempts that a whole log tells of; see `Attempts`."""
    attempts = Attempts()
    attempts.add(log)
    return attempts.rows


def _row(event: Event) -> dict[str, Any]:
    return {"trial_id": event.trial_id, "attempt": _number(event)}


def _key(event: Event) -> tuple[str, int]:
    return str(event.trial_id), _number(event)


def _number(event: Event) -> int:
    return result_of(event).attempt if "result" in event.payload else int(event.payload["attempt"])


def _outcome(event: Event) -> str:
    if event.kind == "attempt_abandoned":
        return "abandoned"
    state = str(event.payload["state"])
    return "retried" if state == TrialState.WAITING else state.lower()


def _ended(row: dict[str, Any], event: Event, outcome: str) -> dict[str, Any]:
    """`row` with its end, and the result as far as one came."""
    found = _found(result_of(event)) if "result" in event.payload else {}
    return row | {"ended_at": event.at, "outcome": outcome} | found


def _found(result: TrialResult) -> dict[str, Any]:
    energy = result.energy
    found: dict[str, Any] = {
        "failure": result.failure.kind if result.failure else None,
        "worker": result.worker,
        "duration_seconds": result.duration_seconds,
        "inference_joules": result.inference.report.joules if result.inference else None,
    }
    if energy is not None:
        found |= energy.model_dump(mode="json", include={"device", "joules", "method", "quality", "emissions_grams"})
        found |= {"uncertainty_joules": uncertainty_of(energy), "flags": " ".join(energy.flags)}
    return found
