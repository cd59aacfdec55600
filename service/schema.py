"""The words of the service: what a study is and what its trials are."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from service.errors import InputError
from worker.schema import Family, Frozen, Measurement, Recipe, SiteSpec, TrialResult

ObjectiveName = Literal[
    "error",
    "energy",
    "emissions",
    "inference_energy",
    "deployment_energy",
    "inference_energy",
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
# Epochs of a trial where neither the fidelity nor the space says how many: the upper end of the paper's range.
DEFAULT_EPOCHS = 20


class Fidelity(Frozen):
    """The knob that makes a trial cheaper; knobs under `together` follow it linearly.

    Attributes:
        eta: one config in `eta` is promoted, 2 or more.
        together: (value at min_fidelity, value at max_fidelity) of each further knob.
    """

    name: FidelityName = "shift_depth"
    min_fidelity: float = Field(gt=0)
    max_fidelity: float = Field(gt=0)
    eta: int = Field(3, ge=2)
    together: dict[FidelityName, tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.min_fidelity > self.max_fidelity:
            raise ValueError(
                f"min_fidelity must be at most max_fidelity {self.max_fidelity:g}, got {self.min_fidelity:g}"
            )
        if self.name in self.together:
            raise ValueError(f"together must name other knobs than {self.name}")
        for name, (low, high) in {**self.together, self.name: (self.min_fidelity, self.max_fidelity)}.items():
            if name == "data_fraction" and max(low, high) > 1:
                raise ValueError(f"data_fraction must be at most 1, got {low:g}..{high:g}")
            if name in self.together and min(low, high) < (1 if name != "data_fraction" else 1e-6):
                raise ValueError(f"together: {name} must be {'above 0' if name == 'data_fraction' else 'at least 1'}, "
                                 f"got {low:g}..{high:g}")  # fmt: skip
        return self

    @property
    def knobs(self) -> tuple[FidelityName, ...]:
        """The named knob and all that follow it."""
        return (self.name, *self.together)

    def values(self, fidelity: float) -> dict[str, float]:
        """Each knob at `fidelity`: depth and epochs as whole numbers of at least 1, data_fraction as it is."""
        span = self.max_fidelity - self.min_fidelity
        share = 1.0 if span == 0 else (fidelity - self.min_fidelity) / span
        others = {name: low + share * (high - low) for name, (low, high) in self.together.items()}
        return {
            name: value if name == "data_fraction" else max(1, round(value))
            for name, value in {self.name: fidelity, **others}.items()
        }


class Budget(Frozen):
    """When a study ends: at whichever limit it reaches first; None is no limit.

    Attributes:
        n_trials: evaluations, the default configuration's included.
        wall_seconds: during which a coordinator ran the study.
        energy_joules: of all attempts, failed ones included, as far as their energy is known. Trials that run
            when this, `wall_seconds` or `emissions_grams` is reached are finished.
        emissions_grams: likewise, in gCO2eq.
    """

    n_trials: int | None = Field(None, ge=1)
    wall_seconds: float | None = Field(None, gt=0)
    energy_joules: float | None = Field(None, gt=0)
    emissions_grams: float | None = Field(None, gt=0)

    @property
    def needs_energy(self) -> bool:
        """Whether nothing but spent energy or emissions would end the study."""
        return self.n_trials is None and self.wall_seconds is None

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if all(limit is None for limit in self.model_dump().values()):
            raise ValueError(f"budget must set at least one of {', '.join(type(self).model_fields)}")
        return self


class StudySpec(Frozen):
    """A study as its author wrote it; the presets are examples.

    Attributes:
        family: of all networks, or `search` to let each config choose among shift, int8 and float.
        continue_promoted: a promoted trial goes on from the checkpoint of the trial below, further layers converted,
            in place of starting afresh.
        ranges: (lowest, highest) of numbers of a named space, where they differ from its own.
        fixed: hyperparameters that are the same for every network, the default included; no part of the search.
        initial_configs: evaluated before what the optimizer proposes; what one leaves out is the space's default.
        n_seeds: networks that each trial trains, with `seed`, `seed + 1`, ...; an objective is their mean, what they
            spend their sum.
        site: what energy means there in carbon and water.
        trial_time_limit_seconds: a trial that runs longer fails; None is no limit.
        trial_memory_limit_bytes: a trial whose process is resident with more fails; None is no limit.
        baselines: what is trained beside the paper's default to compare the search with: `deepshift-recommended` is the
            same network trained as DeepShift's authors advise.
        keep_models: whose weights stay when a run ends: of all networks trained at full fidelity, of the front and the
            default alone, or of none.
        weights: file that every network starts from (finetuning), as the workers see it; None starts from scratch.
    """

    name: str = Field(pattern=r"^\w[\w .-]{0,99}$")
    dataset: str
    network: str
    family: Family | Literal["search"] = "shift"
    space: str | dict[str, Any] = "dsnn"
    objectives: dict[ObjectiveName, Direction] = Field(min_length=2, max_length=3)
    fidelity: Fidelity | None
    budget: Budget
    optimizer: OptimizerKind = "greenshift"
    seed: int = Field(0, ge=0, lt=2**31)
    n_seeds: int = Field(1, ge=1)
    data_dir: str | None = None
    continue_promoted: bool = False
    ranges: dict[str, tuple[int | float, int | float]] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)
    initial_configs: tuple[dict[str, Any], ...] = ()
    site: SiteSpec = SiteSpec()
    weights: str | None = None
    baselines: tuple[BaselineName, ...] = ()
    keep_models: KeepModels = "all"
    trial_time_limit_seconds: float | None = Field(None, gt=0)
    trial_memory_limit_bytes: int | None = Field(None, ge=1)

    @property
    def measures_energy(self) -> bool:
        """Whether an objective depends on what the device spends, so that two models of device must not be mixed."""
        return not OF_ANY_DEVICE.issuperset(self.objectives)

    @model_validator(mode="after")
    def _can_continue(self) -> Self:
        if self.continue_promoted and (self.fidelity is None or "epochs" not in self.fidelity.knobs):
            raise ValueError("continue_promoted needs epochs in fidelity, else a promoted trial has nothing to train")
        return self

    @field_validator("space", mode="before")
    @classmethod
    def _known_space(cls, space: object) -> object:
        if not isinstance(space, dict) and space not in ("dsnn", "paper"):
            raise ValueError(f"must be dsnn, paper or a ConfigSpace JSON object, got {space!r}")
        return space

    @field_validator("fixed")
    @classmethod
    def _is_part_of_a_recipe(cls, fixed: dict[str, Any]) -> dict[str, Any]:
        for name, value in fixed.items():
            if name not in Recipe.model_fields:
                allowed = ", ".join(sorted(Recipe.model_fields))
                raise ValueError(f"hyperparameter {name!r} is unknown; allowed are {allowed}")
            if not isinstance(value, str | int | float):
                raise ValueError(f"{name} must be a word or a number, got {value!r}")
            try:
                Recipe.model_validate({name: value})
            except ValidationError as error:
                raise ValueError(f"{name}: {error.errors()[0]['msg']}, got {value!r}") from error
        return fixed

    @classmethod
    def load(cls, source: str | Path | dict[str, Any]) -> StudySpec:
        """The study of a preset's name, a YAML or JSON file, or a dict.

        Raises:
            InputError: no such preset or file, or a key or value that is not allowed; one line for each.
        """
        data = source if isinstance(source, dict) else _read(str(source))
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(_describe(error)) from error


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
    """A study with its state."""

    study_id: str
    spec: StudySpec
    state: StudyState
    created_at: datetime


class Trial(Frozen):
    """One evaluation of one config at one fidelity, with its state and, at the end, its result.

    Attributes:
        fidelity: exact as the optimizer gave it; None without a fidelity.
        promoted_from: the trial of the same config at the fidelity below.
        is_default: the paper's default network, never counted in the front: `default`, and as baselines of the study
            trained by other recipes (`default-recommended`).
        is_full: the trial ran at the maximum fidelity.
        seq: of the last event about this trial.
    """

    study_id: str
    trial_id: str
    state: TrialState
    config: dict[str, Any]
    fidelity: float | None
    shift_depth: int
    epochs: int
    data_fraction: float = 1.0
    family: Family = "shift"
    seed: int
    attempt: int = 0
    promoted_from: str | None = None
    is_default: bool = False
    is_full: bool
    result: TrialResult | None = None
    seq: int = 0

    def measurement(self, objective: str) -> Measurement | None:
        """What the trial measured of `objective`, or None."""
        return self.result.objectives.get(objective) if self.result else None

    def value(self, objective: str) -> float | None:
        """The value of `objective`, or None where it is unknown."""
        measurement = self.measurement(objective)
        return measurement.value if measurement else None


def preset_names() -> list[str]:
    """Studies that come with the program."""
    folder = resources.files("service.presets")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def _read(source: str) -> dict[str, Any]:
    """The mapping in a preset or file."""
    if source in preset_names():
        text = resources.files("service.presets").joinpath(f"{source}.yaml").read_text()
    elif Path(source).is_file():
        text = _read_text(Path(source))
    else:
        raise InputError(f"study must be a YAML file or a preset ({', '.join(preset_names())}), got {source!r}")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{source} must hold a mapping of keys to values")
    return data


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise InputError(f"study {path} cannot be read: {error}") from error


def _describe(error: ValidationError) -> str:
    """One line a fault (four at most): key, value and what is allowed."""
    lines = []
    for fault in error.errors()[:4]:
        key = ".".join(str(part) for part in fault["loc"] if part != "[key]")
        allowed = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key; allowed are {', '.join(_keys_beside(fault['loc']))}")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing")
        elif fault["type"] == "value_error":
            lines.append(f"{key}: {allowed}")
        else:
            lines.append(f"{key}: {allowed}, got {fault['input']!r}")
    return "\n".join(lines)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Keys that are allowed where the unknown key stands."""
    models: dict[str, type[Frozen]] = {"fidelity": Fidelity, "budget": Budget}
    parent = models.get(str(location[-2]), StudySpec) if len(location) > 1 else StudySpec
    return list(parent.model_fields)
