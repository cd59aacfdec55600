"""What crosses HTTP between a service and its clients: one definition for both sides."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, WrapSerializer

from service.names import STUDY_ID
from service.schema import StudySpec, StudyState, Trial, TrialState
from worker.schema import FailureKind, Frozen, Method, Quality

API = "/api/v1"
# Keys of a study that name places on the machines of workers: only who sits at those may set or see them.
PLACES = ("data_dir", "weights")
# What a database can count to.
MAX_SEQ = 2**63 - 1
RequestKind = Literal["pause", "resume", "stop", "retry", "cancel"]
Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]


def without_places(document: dict[str, Any]) -> dict[str, Any]:
    """A spec, or changes of one, without what clients are not to see."""
    kept = {key: value for key, value in document.items() if key not in PLACES}
    if kept.get("warm_start") is not None and not names_study(kept["warm_start"]):
        del kept["warm_start"]
    return kept


def names_study(value: Any) -> bool:
    """Whether this could be the id of a study, and is no path."""
    return isinstance(value, str) and re.fullmatch(STUDY_ID, value) is not None


def _serialize(spec: StudySpec, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
    return without_places(serialize(spec))


class NTrials(Frozen):
    """How many trials of a study are in each state."""

    waiting: int = Field(ge=0)
    running: int = Field(ge=0)
    completed: int = Field(ge=0)
    failed: int = Field(ge=0)
    stopped: int = Field(ge=0)


class StudySummary(Frozen):
    """A study as a list of studies shows it."""

    study_id: str
    name: str
    state: StudyState
    created_at: datetime
    n_trials: NTrials


class StudyDocument(StudySummary):
    """A study with its spec, which can be submitted again as it is.

    Attributes:
        reason: why it is in its state, for people; None where nobody said.
    """

    spec: Annotated[StudySpec, WrapSerializer(_serialize)]
    reason: str | None = None


class StudiesPage(Frozen):
    """Studies, the newest first; `next` is what to give as `after` for the page behind this one, None at the end."""

    items: list[StudySummary]
    next: str | None


class StudyStatus(Frozen):
    """How far a study is.

    Attributes:
        hypervolume: of the front, in the product of the objectives' units; None without a front.
        reference_point: that the hypervolume is measured from, by objective; None without a front. It moves with the
            worst comparable trial, so hypervolumes of two studies, or of one at two times, cannot be compared.
        energy_joules: that all attempts have spent, as far as it is known and whatever its quality; None where nothing
            is known.
        energy_joules_by_quality: what makes it up, measurements and estimates apart; empty where it is None.
        reason: why it is in its state, for people; None where nobody said.
    """

    study_id: str
    state: StudyState
    n_trials: NTrials
    hypervolume: float | None
    reference_point: dict[str, float] | None
    energy_joules: float | None
    energy_joules_by_quality: dict[str, float] = Field(default_factory=dict)
    reason: str | None = None


class TrialsPage(Frozen):
    """Trials as they are now, in the order of their last events.

    Attributes:
        next: `seq` to give as `after` for the page behind this one; None at the end.
    """

    items: list[Trial]
    next: int | None


class Origin(Frozen):
    """Where figures come from: their unit, and how and how well they were obtained."""

    unit: str
    method: Method
    quality: Quality


class Figures(Frozen):
    """One figure of many trials, in columns; None is unknown.

    Attributes:
        deviation: over the seeds of a trial (sample standard deviation).
        uncertainty: of the meter, for a coverage factor of 2.
        origin: number of the origin in the document's `origins`.
    """

    value: list[float | None]
    deviation: list[float | None]
    uncertainty: list[float | None]
    origin: list[int | None]


class PointsDocument(Frozen):
    """What plots need of trials, in columns: each list has one place for each trial, by their last events.

    Attributes:
        seq: what to give as `after` for what is behind this document or comes later.
        is_whole: whether nothing is behind this document now.
        front: ids of the trials at full fidelity that no other dominates; None unless `is_whole`.
        config: hyperparameters by name, with depth and epochs; None where a config does not have one.
    """

    seq: int
    is_whole: bool
    front: list[str] | None
    trial_id: list[str]
    state: list[TrialState]
    fidelity: list[float | None]
    is_full: list[bool]
    is_default: list[bool]
    attempt: list[int]
    promoted_from: list[str | None]
    duration_seconds: list[float | None]
    worker: list[str | None]
    failure: list[FailureKind | None]
    origins: list[Origin]
    figures: dict[str, Figures]
    config: dict[str, list[Any]]


class EpochPoint(Frozen):
    """What one epoch of an attempt at a trial came to; epochs are counted from 1, and some may be missing."""

    attempt: int
    epoch: int
    training_loss: float
    seconds: float


class Event(Frozen):
    """One line of a study's log. `seq` grows: nothing appears behind who has read up to a number."""

    seq: int
    kind: str
    trial_id: str | None
    at: datetime
    payload: dict[str, Any]


class End(Frozen):
    """The last message of a stream of events that ends: there is nothing more to come, as things stand."""

    state: StudyState


class Asked(Frozen):
    """A request that was written down for the study's coordinator, which looks once a second; `seq` is its number."""

    study_id: str
    seq: int
    kind: RequestKind
    trial_id: str | None


class Spending(Frozen):
    """What attempts of one cause on one worker have spent, obtained in one way; None is unknown.

    Attributes:
        cause: such as `completed`, `failed` or `retried`.
        worker: its name, or in older logs host and process; empty where nobody knows.
        device: its model; empty where nobody knows.
        method: how the joules were obtained, `none` where they are unknown; likewise `quality`.
        n_unknown: of the `n_attempts`, those whose energy is unknown and counts as nothing in the sums.
        seconds: of the windows that were measured.
    """

    cause: str
    worker: str
    device: str
    method: str
    quality: str
    n_attempts: int = Field(ge=0)
    n_unknown: int = Field(ge=0)
    joules: float | None
    emissions_grams: float | None
    water_litres: float | None
    embodied_grams: float | None
    seconds: float


class LedgerDocument(Frozen):
    """All energy that a study has spent; `joules` is all that is known of it, of any quality, None where nothing is."""

    joules: float | None
    entries: list[Spending]


class Preset(Frozen):
    """A study that comes with the service; its spec can be submitted as it is."""

    name: str
    spec: Annotated[StudySpec, WrapSerializer(_serialize)]


class Worker(Frozen):
    """One worker of the cluster.

    Attributes:
        resource: what it offers to trials, `GPU` or `CPU_SLOT`.
        n_slots: trials that it can run at once.
        n_running: of those, that run.
        device: model of GPU or processor; None until it has answered for some study.
        set_aside_by: ids of running studies that give it no trial, because it failed or does not fit.
        state: `draining` is a worker that gets no new trial and still runs some, `drained` one that has finished.
    """

    address: str
    name: str
    resource: str
    n_slots: int = Field(ge=0)
    n_running: int = Field(ge=0)
    device: str | None
    set_aside_by: list[str]
    state: Literal["active", "draining", "drained"] = "active"


class WorkersDocument(Frozen):
    """The workers of the cluster, as the service saw them last.

    Attributes:
        seen_at: None where nobody has looked yet.
        age_seconds: since then, by the service's own clock: no other one need agree with it.
        is_current: whether the service has a cluster now; else `workers` is empty.
    """

    seen_at: datetime | None
    age_seconds: float | None
    is_current: bool
    workers: list[Worker]


class Drain(Frozen):
    """Whether the worker of a name is drained: within two seconds it gets no new trial, or gets trials again."""

    name: str
    is_drained: bool


class Health(Frozen):
    """The service answers."""

    status: Literal["ok"]
    version: str


class Problem(Frozen):
    """Why a request came to nothing: one line a fault, with the key, the value and what is allowed."""

    detail: str
