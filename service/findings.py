"""What the analyses of a study come to, as it crosses HTTP: one definition for both sides. Unknown is None."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.schema import FailureKind, Frozen

AttemptState = Literal["RUNNING", "COMPLETED", "FAILED", "STOPPED", "given back"]


class HistoryPoint(Frozen):
    """How far a study was at one moment.

    Attributes:
        n_trials: that had ended by then, the default included.
        seconds: since the study first ran, pauses included.
        joules: that all attempts had spent by then; None from the first one on whose energy is unknown.
        hypervolume: of the front then, from the reference point of the whole history.
    """

    n_trials: int = Field(ge=0)
    seconds: float
    joules: float | None
    hypervolume: float


class HistoryDocument(Frozen):
    """How the front of a study grew: a point for each of its changes, and a last one for now.

    Attributes:
        reference_point: one for all points, by objective: that of the front as it is now. None, and no points, without
            a front.
    """

    reference_point: dict[str, float] | None
    points: list[HistoryPoint]


class AttemptSpan(Frozen):
    """One attempt at a trial, from when it was sent out to when its end was recorded.

    Attributes:
        worker: None while it runs, and where nothing came back: a worker is known by its results.
        ended: None while it runs.
        state: `given back` is an attempt that ended with its trial waiting for another one.
    """

    worker: str | None
    trial_id: str
    attempt: int
    fidelity: float | None
    started: datetime
    ended: datetime | None
    state: AttemptState
    failure: FailureKind | None


class WorkerTime(Frozen):
    """How one worker spent the time from its first attempt to the end of its last one.

    Attributes:
        busy_seconds: in which at least one attempt was with it; `idle_seconds` are all others.
        n_attempts: that it answered; `n_failed` of these failed.
    """

    worker: str
    busy_seconds: float
    idle_seconds: float
    n_attempts: int = Field(ge=0)
    n_failed: int = Field(ge=0)


class TimelineDocument(Frozen):
    """The attempts of a study in the order in which they began, and the workers by name.

    Attributes:
        idle_share: of the time of all workers, 0..1; None where no worker has answered.
    """

    attempts: list[AttemptSpan]
    idle_share: float | None
    workers: list[WorkerTime]


class Rung(Frozen):
    """The trials of the search at one fidelity, by their state.

    Attributes:
        n_promoted: configs that went on from here to a higher fidelity.
    """

    fidelity: float
    n_waiting: int = Field(ge=0)
    n_running: int = Field(ge=0)
    n_completed: int = Field(ge=0)
    n_failed: int = Field(ge=0)
    n_promoted: int = Field(ge=0)


class FidelityCorrelation(Frozen):
    """How well a low fidelity ranks configs as a high one does.

    Attributes:
        n: configs of which the objective is known at both, in one way at each.
        spearman: rank correlation, -1..1; None of fewer than five, and where all values of a fidelity are one.
    """

    objective: str
    low: float
    high: float
    n: int = Field(ge=0)
    spearman: float | None


class RungsDocument(Frozen):
    """The fidelities of a study from the lowest up, and each pair of them that has configs in common."""

    rungs: list[Rung]
    correlations: list[FidelityCorrelation]
