"""Lines of a log, a study's first second being zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from service.wire import Event
from worker.schema import TrialResult

START = datetime(2026, 1, 2, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def line(seconds: float, kind: str, trial_id: str | None = None, **payload: Any) -> Event:
    if isinstance(payload.get("result"), TrialResult):
        payload["result"] = payload["result"].model_dump(mode="json")
    return Event(seq=1, kind=kind, trial_id=trial_id, at=at(seconds), payload=payload)


def started(seconds: float, trial_id: str, attempt: int = 1) -> Event:
    return line(seconds, "attempt_started", trial_id, attempt=attempt)


def finished(seconds: float, result: TrialResult, state: str = "COMPLETED") -> Event:
    return line(seconds, "attempt_finished", result.trial_id, result=result, state=state)
