"""Every attempt at a trial as a row, read from the log of its study: when, where, how it ended and what it spent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service.schema import TrialState
from service.wire import Event
from worker.schema import EnergyReport, TrialResult

ATTEMPT_COLUMNS = (
    "trial_id", "attempt", "started_at", "ended_at", "outcome", "failure", "worker", "device", "duration_seconds",
    "joules", "method", "quality", "uncertainty_joules", "emissions_grams", "inference_joules", "flags",
)  # fmt: skip
_RUNNING = "running"


def attempt_rows(log: Iterable[Event]) -> list[dict[str, Any]]:
    """The attempts in the order in which they began, and behind them results that came when nobody waited for them.

    `outcome` is `running`, `completed`, `failed`, `stopped`, `retried` (its trial was given back), `abandoned` (nothing
    came back) or `late` (a result that changed nothing). `joules` are of the attempt alone, without what
    `inference_joules` says was spent on repeated passes.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    late: list[dict[str, Any]] = []
    for event in log:
        if event.kind == "late_result":
            late.append(_ended(_row(event), event, "late"))
        elif event.kind == "trial_stopped":
            # Also a trial that waits can be given up, which ends no attempt.
            for row in rows.values():
                if row["trial_id"] == event.trial_id and row["outcome"] == _RUNNING:
                    _ended(row, event, "stopped")
        elif event.kind in ("attempt_started", "attempt_finished", "attempt_abandoned"):
            row = rows.setdefault((str(event.trial_id), _number(event)), _row(event))
            if event.kind == "attempt_started":
                row |= {"started_at": event.at, "outcome": _RUNNING}
            else:
                _ended(row, event, _outcome(event))
    return [*rows.values(), *late]


def uncertainty_of(report: EnergyReport) -> float | None:
    """That of the joules, in J for a coverage factor of 2; None where they are of no GPU's meter."""
    gpu = report.gpu
    return gpu.uncertainty_joules if gpu is not None and gpu.method == report.method else None


def _row(event: Event) -> dict[str, Any]:
    return {"trial_id": event.trial_id, "attempt": _number(event)}


def _number(event: Event) -> int:
    payload = event.payload
    return int(payload["result"]["attempt"] if "result" in payload else payload["attempt"])


def _outcome(event: Event) -> str:
    if event.kind == "attempt_abandoned":
        return "abandoned"
    state = str(event.payload["state"])
    return "retried" if state == TrialState.WAITING else state.lower()


def _ended(row: dict[str, Any], event: Event, outcome: str) -> dict[str, Any]:
    """`row` with its end, and the result as far as one came."""
    row |= {"ended_at": event.at, "outcome": outcome}
    if "result" in event.payload:
        row |= _found(TrialResult.model_validate(event.payload["result"]))
    return row


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
