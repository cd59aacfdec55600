"""Which attempt ran where and when, and how long workers that had begun stood idle between attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from service.findings import AttemptSpan, AttemptState, TimelineDocument, WorkerTime

_STATES: dict[str, AttemptState] = {
    "running": "RUNNING",
    "completed": "COMPLETED",
    "failed": "FAILED",
    "stopped": "STOPPED",
    "retried": "given back",
    "abandoned": "given back",
}


def timeline(attempts: Sequence[Mapping[str, Any]], fidelities: Mapping[str, float | None]) -> TimelineDocument:
    """The attempts of a study, and what its workers did with their time.

    A worker is followed from its first attempt to the end of its last one: when it came and left nobody knows.

    Args:
        attempts: rows of `Attempts`; results that came late tell only which worker an attempt was with.
        fidelities: of the trials.
    """
    late = {(row["trial_id"], row["attempt"]): row["worker"] for row in attempts if row["outcome"] == "late"}
    spans = [_span(row, fidelities, late) for row in attempts if row["outcome"] in _STATES]
    by_worker: dict[str, list[AttemptSpan]] = {}
    for span in spans:
        if span.worker is not None and span.ended is not None:
            by_worker.setdefault(span.worker, []).append(span)
    workers = [_worker(name, by_worker[name]) for name in sorted(by_worker)]
    idle, busy = (sum(getattr(w, name) for w in workers) for name in ("idle_seconds", "busy_seconds"))
    return TimelineDocument(attempts=spans, idle_share=idle / (idle + busy) if idle + busy else None, workers=workers)


def _span(
    row: Mapping[str, Any], fidelities: Mapping[str, float | None], late: Mapping[tuple[str, int], str]
) -> AttemptSpan:
    trial_id, attempt = row["trial_id"], row["attempt"]
    ended = row.get("ended_at")
    return AttemptSpan(
        worker=row.get("worker") or late.get((trial_id, attempt)) or None,
        trial_id=trial_id,
        attempt=attempt,
        fidelity=fidelities.get(trial_id),
        started=row.get("started_at", ended),
        ended=ended,
        state=_STATES[row["outcome"]],
        failure=row.get("failure"),
    )


def _worker(name: str, spans: list[AttemptSpan]) -> WorkerTime:
    times = [(span.started, span.ended) for span in spans if span.ended is not None]
    busy = _covered(times)
    whole = (max(end for _, end in times) - min(start for start, _ in times)).total_seconds()
    n_failed = sum(span.state == "FAILED" for span in spans)
    return WorkerTime(
        worker=name, busy_seconds=busy, idle_seconds=whole - busy, n_attempts=len(spans), n_failed=n_failed
    )


def _covered(times: Iterable[tuple[datetime, datetime]]) -> float:
    """Seconds that at least one of these times covers; a worker may run several attempts at once."""
    seconds = 0.0
    until: datetime | None = None
    for start, end in sorted(times):
        begin = start if until is None else max(start, until)
        if end > begin:
            seconds += (end - begin).total_seconds()
            until = end
    return seconds
