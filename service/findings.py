"""What the analyses of a study come to, as it crosses HTTP: one definition for both sides. Unknown is None."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.schema import FailureKind, Frozen, LayerSummary, Quality

AttemptState = Literal["RUNNING", "COMPLETED", "FAILED", "STOPPED", "given back"]


class HistoryPoint(Frozen):
    """How far a study was at one moment.

    Attributes:
        n_trials: of the search that had ended by then, failed and stopped ones included, the default and other
            baselines not; those of the report are the same.
        seconds: since the study first ran, pauses included.
        joules: that all attempts had spent by then; None from the first one on whose energy is unknown.
        joules_by_quality: what makes up `joules`; empty where that is None.
        hypervolume: of the front then, from the reference point of the whole history.
    """

    n_trials: int = Field(ge=0)
    seconds: float
    joules: float | None
    joules_by_quality: dict[Quality, float] = Field(default_factory=dict)
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
        n_stopped: that somebody gave up, whether they waited or ran; none of them failed.
        n_promoted: configs that went on from here to a higher fidelity.
    """

    fidelity: float
    n_waiting: int = Field(ge=0)
    n_running: int = Field(ge=0)
    n_completed: int = Field(ge=0)
    n_failed: int = Field(ge=0)
    n_stopped: int = Field(ge=0)
    n_promoted: int = Field(ge=0)


class FidelityCorrelation(Frozen):
    """How well a low fidelity ranks configs as a high one does.

    Attributes:
        n: configs of which the objective is known at both, in one way at all of them.
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


class ParameterImportance(Frozen):
    """How much one hyperparameter tells of an objective.

    Attributes:
        importance: share of what all hyperparameters tell, 0..1.
        std: of that share over the held-out folds.
    """

    name: str
    importance: float
    std: float


class ObjectiveImportance(Frozen):
    """Which hyperparameters an objective depends on, the most important first.

    Attributes:
        n_trials: that the model learned from.
        method: how the figures were obtained, and at which fidelity.
        score: R2 of the model on trials that it had not seen, at most 1; near 0 or below, the figures mean little.
        parameters: that took several values; empty where nothing can be told.
        reason: why nothing can be told, for people.
    """

    n_trials: int = Field(ge=0)
    method: str
    score: float | None
    parameters: list[ParameterImportance]
    reason: str | None = None


class ImportanceDocument(Frozen):
    """The importance of hyperparameters by objective."""

    objectives: dict[str, ObjectiveImportance]


class PaybackNetwork(Frozen):
    """A network of the front against the default network.

    Attributes:
        saved_joules_per_inference: below 0 where it needs more than the default.
        n_inferences_to_pay: until it has saved what the study spent; None where it saves nothing.
    """

    trial_id: str
    joules_per_inference: float
    saved_joules_per_inference: float | None
    n_inferences_to_pay: int | None


class PaybackDocument(Frozen):
    """When a study has paid for itself: what it spent, over what its networks save in each inference.

    Attributes:
        search_joules: of all that the study has spent; None where some of it is unknown, and where it was obtained in
            several qualities, which are never added up.
        search_method: how these joules were obtained; `search_quality` how far they are to be trusted.
        by_cause: the same by cause.
        default_joules: of the default network, per inference.
        networks: of the front, by the first objective; none of a study of a task.
        method: of the joules per inference, on hardware that shifts and adds; likewise `quality`.
    """

    search_joules: float | None
    search_method: str
    search_quality: Quality
    by_cause: dict[str, float | None]
    default_joules: float | None
    networks: list[PaybackNetwork]
    method: Literal["analytic"] = "analytic"
    quality: Literal["estimated"] = "estimated"


class LayersDocument(Frozen):
    """The layers of a trained network; empty where no worker has told them."""

    layers: list[LayerSummary]
