"""`greenshift logs`: everything that is known of one trial."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import typer

from service.cli.remote import StudyName, TrialName, study_of
from service.wire import EpochPoint, Event
from worker.schema import TrialResult


def logs(study: StudyName, trial: TrialName) -> None:
    """Shows what happened to a trial: attempts, epochs, failures with their tracebacks."""
    with study_of(study) as handle:
        handle.trial(trial)
        events = [event for event in handle.iter_events() if event.trial_id == trial]
        epochs = handle.epochs(trial)
    typer.echo("\n".join([*_happenings(events), *_epochs(epochs)]))


def _happenings(events: Iterable[Event]) -> Iterator[str]:
    for event in events:
        yield f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {_said(event)}"
        failure = _result(event).failure if "result" in event.payload else None
        if failure is not None and failure.traceback:
            yield from (f"    {line}" for line in failure.traceback.rstrip().splitlines())


def _said(event: Event) -> str:
    """One event in words."""
    if event.kind == "attempt_started":
        return f"attempt {event.payload['attempt']} started"
    if "result" in event.payload:
        return _came_back(event)
    reason = event.payload.get("reason") or event.payload.get("outcome") or event.payload.get("failure")
    return event.kind.replace("_", " ") + (f": {reason}" if reason else "")


def _came_back(event: Event) -> str:
    result = _result(event)
    where = f"attempt {result.attempt} on {result.worker or 'an unknown worker'}"
    # Of an attempt that was lost, nobody knows.
    after = f" after {result.duration_seconds:.1f} s" if result.duration_seconds else ""
    if result.failure is not None:
        return f"{where} failed{after}: {result.failure.kind}: {result.failure.message}"
    values = ", ".join(f"{name} {_value(m.value)} {m.unit}" for name, m in result.objectives.items())
    return f"{where} completed{after}: {values}"


def _epochs(epochs: Iterable[EpochPoint]) -> Iterator[str]:
    for attempt, metrics in groupby(epochs, key=lambda epoch: epoch.attempt):
        yield f"attempt {attempt}: epoch, training loss, seconds"
        yield from (f"{m.epoch:7d}  {m.training_loss:.4g}  {m.seconds:.1f}" for m in metrics)


def _value(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _result(event: Event) -> TrialResult:
    return TrialResult.model_validate(event.payload["result"])
