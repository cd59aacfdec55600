"""The words of the service: what a study is and what its trials are."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from service.bounds import Bound, read_bound
from service.documents import preset_names as preset_names
from service.documents import read_document
from service.errors import InputError
from service.faults import describe, in_one_line, unknown_key
from service.names import STUDY_NAME
from worker.schema import (
    MAX_EPOCHS,
    MAX_SEEDS,
    Family,
    Frozen,
    Measurement,
    Number,
    Real,
    Recipe,
    SiteSpec,
    TrialResult,
    Written,
    did_you_mean,
)

ObjectiveName = Literal[
    "error",
    "energy",
    "emissions",
    "inference_energy",
    "deployment_energy",
    "latency",
    "model_bytes",
    "peak_memory_bytes",
    "water_litres",
    "embodied_grams",
]
Direction = Literal["minimize", "maximize"]
FidelityName = Literal["shift_depth", "epochs", "data_fraction"]
BaselineName = Literal["deepshift-recommended"]
KeepModels = Literal["all", "front", "none"]
OptimizerKind = Literal["greenshift", "smac-default", "random"]
# Everything else differs from one model of device to another.
OF_ANY_DEVICE = frozenset({"error", "deployment_energy", "model_bytes"})
# Beyond what any study reaches: a larger number is a slip.
MAX_TRIALS = 10**9
# Epochs of a trial where neither the fidelity nor the space says how many: the upper end of the paper's range.
DEFAULT_EPOCHS = 20
# What every table says of a trial beside its objectives.
TRIAL_COLUMNS = ("trial_id", "state", "fidelity", "shift_depth", "epochs", "seed", "attempt", "promoted_from",
                 "is_default")  # fmt: skip
RESULT_COLUMNS = ("duration_seconds", "failure", "worker")
# A study of a task leaves the first to it unless it says otherwise, and has no use for the others.
_OF_THE_TASK = ("space", "objectives", "fidelity")
_OF_NETWORKS = ("dataset", "network", "family", "ranges", "fixed", "n_seeds", "weights", "baselines")


class Fidelity(Written):
    """The knob that makes a trial cheaper; knobs under `together` follow it linearly.

    Attributes:
        name: None is the one fidelity of a task.
        eta: one config in `eta` is promoted, 2 or more.
        together: (value at min_fidelity, value at max_fidelity) of each further knob.
    """

    name: FidelityName | None = "shift_depth"
    min_fidelity: float = Field(gt=0)
    max_fidelity: float = Field(gt=0)
    eta: int = Field(3, ge=2, le=1000)
    together: dict[FidelityName, tuple[Real, Real]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.min_fidelity > self.max_fidelity:
            raise ValueError(
                f"min_fidelity must be at most max_fidelity {self.max_fidelity:g}, got {self.min_fidelity:g}"
            )
        if self.name in self.together:
            raise ValueError(f"together must name other knobs than {self.name}")
        for name, (low, high) in [*self.together.items(), (self.name, (self.min_fidelity, self.max_fidelity))]:
            if name == "epochs" and max(low, high) > MAX_EPOCHS:
                raise ValueError(f"epochs must be at most {MAX_EPOCHS}, got {low:g}..{high:g}")
            if name == "data_fraction" and max(low, high) > 1:
                raise ValueError(f"data_fraction must be at most 1, got {low:g}..{high:g}")
            if name in self.together and min(low, high) < (1 if name != "data_fraction" else 1e-6):
                raise ValueError(f"together: {name} must be {'above 0' if name == 'data_fraction' else 'at least 1'}, "
                                 f"got {low:g}..{high:g}")  # fmt: skip
        return self

    @property
    def knobs(self) -> tuple[FidelityName, ...]:
        """The named knob and all that follow it."""
        return (*([] if self.name is None else [self.name]), *self.together)

    def values(self, fidelity: float) -> dict[str, float]:
        """Each knob at `fidelity`: depth and epochs as whole numbers of at least 1, data_fraction as it is."""
        span = self.max_fidelity - self.min_fidelity
        share = 1.0 if span == 0 else (fidelity - self.min_fidelity) / span
        others = {name: low + share * (high - low) for name, (low, high) in self.together.items()}
        return {
            name: value if name == "data_fraction" else max(1, round(value))
            for name, value in [(self.name, fidelity), *others.items()]
            if name is not None
        }

    def expected_cost(self, fidelity: float) -> float:
        """Of a trial, in any unit: in proportion to all knobs but depth (one layer of nine: 0.6 to 0.7 of the time)."""
        whole = self.values(self.max_fidelity)
        shares = {name: value / whole[name] for name, value in self.values(fidelity).items()} or {"task": fidelity}
        return math.prod(0.6 + 0.4 * share if name == "shift_depth" else share for name, share in shares.items())


class Budget(Written):
    """When a study ends: at whichever limit it reaches first; None is no limit.

    Attributes:
        n_trials: evaluations, the default configuration's included.
        wall_seconds: during which a coordinator ran the study.
        energy_joules: of all attempts, failed ones included, as far as their energy is known. Trials that run
            when this, `wall_seconds` or `emissions_grams` is reached are finished.
        emissions_grams: likewise, in gCO2eq.
        stalled_rungs: so many rungs in a row without a gain of hypervolume, a rung being `eta` trials at full fidelity.
    """

    n_trials: int | None = Field(None, ge=1, le=MAX_TRIALS)
    wall_seconds: float | None = Field(None, gt=0)
    energy_joules: float | None = Field(None, gt=0)
    emissions_grams: float | None = Field(None, gt=0)
    stalled_rungs: int | None = Field(None, ge=1, le=MAX_TRIALS)

    @property
    def needs_energy(self) -> bool:
        """Whether nothing but spent energy or emissions would end the study."""
        return self.n_trials is None and self.wall_seconds is None and self.stalled_rungs is None

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if all(limit is None for limit in self.model_dump().values()):
            raise ValueError(f"budget must set at least one of {', '.join(type(self).model_fields)}")
        return self


def _known_objective(name: str, info: ValidationInfo) -> str:
    """Refuses an objective that no worker measures, or that would be taken for another column of a table."""
    if info.data.get("task") is None:
        if name not in get_args(ObjectiveName):
            *others, last = map(repr, get_args(ObjectiveName))
            guess = did_you_mean(name, get_args(ObjectiveName))
            raise ValueError(f"must be {', '.join(others)} or {last}, got {name!r}{guess}")
    elif name in (*TRIAL_COLUMNS, *RESULT_COLUMNS) or name.endswith(("_method", "_quality")):
        raise ValueError(f"a column of tables that an objective of a task must not be called like, got {name!r}")
    return name


def _fault_of_fixed(name: str, value: Any) -> str | None:
    if name not in Recipe.model_fields:
        return f".{name}: {unknown_key(name, sorted(Recipe.model_fields))}"
    if not isinstance(value, str | int | float):
        return f".{name}: must be a word or a number, got {value!r}"
    try:
        Recipe.model_validate({name: value})
    except ValidationError as error:
        return f".{name}: {in_one_line(error.errors()[0])}"
    return None


class StudySpec(Written):
    """A study as its author wrote it; the presets are examples.

    Attributes:
        task: of the user's own, in the place of a data set and a network: name of an entry point of
            `greenshift.tasks`. Space, objectives and fidelity are the task's, as far as they are not given here.
        family: of all networks, or `search` to let each config choose among shift, int8 and float.
        continue_promoted: a promoted trial goes on from the checkpoint of the trial below, further layers converted,
            in place of starting afresh.
        ranges: (lowest, highest) of numbers of a named space, where they differ from its own.
        fixed: hyperparameters that are the same for every network, the default included; no part of the search.
        initial_configs: evaluated before what the optimizer proposes; what one leaves out is the space's default.
        warm_start: the earlier study whose front is evaluated after `initial_configs` and before what the optimizer
            proposes: of the same service by its id; of `greenshift run` a folder, or a `front.csv` or `trials.csv`.
        constraints: what every network of the front must keep to, such as `error <= 0.2`.
        weight: share of the cluster, against those of other studies that want it, above 0.
        n_seeds: networks that each trial trains, with `seed`, `seed + 1`, ...; an objective is their mean, what they
            spend their sum.
        site: what energy means there in carbon and water.
        trial_time_limit_seconds: a trial that runs longer fails; None is no limit.
        trial_memory_limit_bytes: a trial whose process is resident with more fails; None is no limit.
        max_lost_workers: a trial is tried again until it has lost more workers than that, and fails then; those not
            counted that were told to end and left its training.
        baselines: what is trained beside the paper's default to compare the search with: `deepshift-recommended` is the
            same network trained as DeepShift's authors advise.
        keep_models: whose weights stay when a run ends: of all networks trained at full fidelity, of the front and the
            default alone, or of none.
        weights: file that every network starts from (finetuning), as the workers see it; None starts from scratch.
    """

    name: str = Field(pattern=STUDY_NAME)
    task: str | None = None
    dataset: str | None = None
    network: str | None = None
    family: Literal[Family, "search"] = "shift"
    space: str | dict[str, Any] = "dsnn"
    objectives: dict[Annotated[str, AfterValidator(_known_objective)], Direction] = Field(
        default_factory=dict, min_length=2, max_length=3
    )
    fidelity: Fidelity | None = None
    budget: Budget
    optimizer: OptimizerKind = "greenshift"
    seed: int = Field(0, ge=0, lt=2**31)
    n_seeds: int = Field(1, ge=1, le=MAX_SEEDS)
    data_dir: str | None = None
    continue_promoted: bool = False
    ranges: dict[str, tuple[Number, Number]] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)
    initial_configs: tuple[dict[str, Any], ...] = ()
    warm_start: str | None = Field(None, min_length=1)
    constraints: tuple[str, ...] = ()
    weight: float = Field(1.0, gt=0)
    site: SiteSpec = SiteSpec()
    weights: str | None = None
    baselines: tuple[BaselineName, ...] = ()
    keep_models: KeepModels = "all"
    trial_time_limit_seconds: float | None = Field(None, gt=0)
    trial_memory_limit_bytes: int | None = Field(None, ge=1)
    max_lost_workers: int = Field(10, ge=0, le=MAX_TRIALS)

    @property
    def bounds(self) -> list[Bound]:
        """The constraints, read."""
        return [read_bound(text) for text in self.constraints]

    @property
    def gaps(self) -> frozenset[str]:
        """Keys that the study leaves to its task and that have not been filled in yet."""
        return frozenset(_OF_THE_TASK) - self.model_fields_set if self.task is not None else frozenset()

    @property
    def subject(self) -> str:
        """What is searched, for people."""
        return f"{self.network} on {self.dataset}" if self.task is None else f"task {self.task}"

    @property
    def measures_energy(self) -> bool:
        """Whether an objective depends on what the device spends, so that two models of device must not be mixed."""
        return not OF_ANY_DEVICE.issuperset([*self.objectives, *(bound.measurement for bound in self.bounds)])

    @model_validator(mode="after")
    def _of_a_network_or_of_a_task(self) -> Self:
        faults = self._faults_beside_a_task() if self.task is not None else self._faults_without_a_task()
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @model_validator(mode="after")
    def _can_continue(self) -> Self:
        if not self.continue_promoted or "fidelity" in self.gaps:
            return self
        if self.task is not None and self.fidelity is None:
            raise ValueError("continue_promoted needs a fidelity, else no trial is promoted")
        if self.task is None and (self.fidelity is None or "epochs" not in self.fidelity.knobs):
            raise ValueError("continue_promoted needs epochs in fidelity, else a promoted trial has nothing to train")
        return self

    @field_validator("fidelity", mode="before")
    @classmethod
    def _nameless(cls, fidelity: object, info: ValidationInfo) -> object:
        """The fidelity of a task is none of our knobs."""
        if isinstance(fidelity, dict) and info.data.get("task") is not None:
            return {"name": None} | fidelity
        return fidelity

    @field_validator("space", mode="before")
    @classmethod
    def _known_space(cls, space: object) -> object:
        if not isinstance(space, dict) and space not in ("dsnn", "paper"):
            raise ValueError(f"must be dsnn, paper or a ConfigSpace JSON object, got {space!r}")
        return space

    @field_validator("constraints")
    @classmethod
    def _can_be_read(cls, constraints: tuple[str, ...]) -> tuple[str, ...]:
        for text in constraints:
            read_bound(text)
        return constraints

    @field_validator("fixed")
    @classmethod
    def _is_part_of_a_recipe(cls, fixed: dict[str, Any]) -> dict[str, Any]:
        if faults := [fault for name, value in fixed.items() if (fault := _fault_of_fixed(name, value))]:
            raise ValueError("\n".join(faults))
        return fixed

    @model_serializer(mode="wrap")
    def _without_gaps(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is still to come from the task must not look as if the study had said it."""
        document: dict[str, Any] = serialize(self)
        return {key: value for key, value in document.items() if key not in self.gaps}

    def _faults_beside_a_task(self) -> list[str]:
        defaults = {key: type(self).model_fields[key].get_default(call_default_factory=True) for key in _OF_NETWORKS}
        faults = [f"{key}: must be left out, because the study names a task; got {getattr(self, key)!r}"
                  for key, default in defaults.items() if getattr(self, key) != default]  # fmt: skip
        if "space" not in self.gaps and not isinstance(self.space, dict):
            faults.append(f"space: of a task must be left out or a ConfigSpace JSON object, got {self.space!r}")
        if self.fidelity is not None and self.fidelity.knobs:
            faults.append(f"fidelity: that of a task has no name and nothing together with it, got "
                          f"{', '.join(self.fidelity.knobs)}")  # fmt: skip
        return faults

    def _faults_without_a_task(self) -> list[str]:
        needed = ("dataset", "network", "objectives", "fidelity")
        faults = [f"{key}: missing" for key in needed if key not in self.model_fields_set]
        faults += [f"{key}: must be a name, got None" for key in needed[:2]
                   if key in self.model_fields_set and getattr(self, key) is None]  # fmt: skip
        known = get_args(ObjectiveName)
        faults += [f"constraints: must be about {', '.join(known)}, got {bound.measurement!r}"
                   f"{did_you_mean(bound.measurement, known)}"
                   for bound in self.bounds if bound.measurement not in known]  # fmt: skip
        if self.fidelity is not None and self.fidelity.name is None:
            faults.append(f"fidelity.name: must be {', '.join(get_args(FidelityName))}, got None")
        return faults

    @classmethod
    def load(cls, source: str | Path | dict[str, Any]) -> StudySpec:
        """The study of a preset's name, a YAML or JSON file, or a dict.

        Raises:
            InputError: no such preset or file, or a key or value that is not allowed; one line for each.
        """
        data = source if isinstance(source, dict) else read_document(str(source))
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(describe(error.errors(), cls)) from error


class StudyState(StrEnum):
    """Where a study stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class TrialState(StrEnum):
    """Where a trial stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def is_finished(self) -> bool:
        """Nothing more will happen to the trial by itself."""
        return self in (TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED)


class Study(Frozen):
    """A study with its state.

    Attributes:
        reason: why it is in this state, for people; None where nobody said, and of studies that are listed.
    """

    study_id: str
    spec: StudySpec
    state: StudyState
    created_at: datetime
    reason: str | None = None

    @property
    def standing(self) -> str:
        """Its state and why, in one line."""
        return because(self.state, self.reason)


def because(state: str, reason: str | None) -> str:
    """A state and why, in one line."""
    return state if not reason else f"{state}: {'; '.join(reason.splitlines())}"


class Trial(Frozen):
    """One evaluation of one config at one fidelity, with its state and, at the end, its result.

    Attributes:
        fidelity: exact as the optimizer gave it; None without a fidelity.
        promoted_from: the trial of the same config at the fidelity below.
        shift_depth: None, like `epochs`, where a task was evaluated.
        is_default: the paper's default network, never counted in the front: `default`, and as baselines of the study
            trained by other recipes (`default-recommended`). Of a task the default of its space.
        is_full: the trial ran at the maximum fidelity.
        seq: of the last event about this trial.
    """

    study_id: str
    trial_id: str
    state: TrialState
    config: dict[str, Any]
    fidelity: float | None
    shift_depth: int | None = None
    epochs: int | None = None
    data_fraction: float = 1.0
    family: Family = "shift"
    seed: int
    attempt: int = 0
    promoted_from: str | None = None
    is_default: bool = False
    is_full: bool
    result: TrialResult | None = None
    seq: int = 0

    @property
    def is_of_task(self) -> bool:
        """Whether a task of the user's own was evaluated, and no network of ours."""
        return self.shift_depth is None

    def measurement(self, objective: str) -> Measurement | None:
        """What the trial measured of `objective`, or None."""
        return self.result.objectives.get(objective) if self.result else None

    def value(self, objective: str) -> float | None:
        """The value of `objective`, or None where it is unknown."""
        measurement = self.measurement(objective)
        return measurement.value if measurement else None
