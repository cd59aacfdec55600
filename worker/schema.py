"""The wire contract of a worker: TrialSpec in, TrialResult out. Torch-free, so that every process can read it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, field_validator

from worker.deployment import DeploymentTable
from worker.energy.schema import (
    Carbon,
    EnergyReport,
    Flag,
    GpuCheck,
    GpuEnergy,
    HostCheck,
    HostEnergy,
    InferenceEnergy,
    SelfTestReport,
    SiteSpec,
)
from worker.spelling import did_you_mean
from worker.wire import Frozen, Measurement, Method, Number, Quality, Real, Written

# Passed on from where it is defined, so that one module is the contract.
__all__ = [
    "Carbon",
    "DeploymentTable",
    "EnergyReport",
    "Flag",
    "Frozen",
    "GpuCheck",
    "GpuEnergy",
    "HostCheck",
    "HostEnergy",
    "InferenceEnergy",
    "Measurement",
    "Method",
    "Number",
    "Quality",
    "Real",
    "SelfTestReport",
    "SiteSpec",
    "Written",
    "did_you_mean",
]
QuantizerName = Literal["deepshift-q", "deepshift-ps", "s3", "denseshift", "apot"]
ScheduleName = Literal["cosine", "step", "one-cycle", "constant"]
ExtraObjective = Literal[
    "inference_energy", "latency", "model_bytes", "peak_memory_bytes", "water_litres", "embodied_grams"
]
Family = Literal["shift", "int8", "float"]
Precision = Literal["float32", "bfloat16"]
# Beyond what anybody trains: a larger number is a slip. Seeds are those of every generator.
MAX_EPOCHS = 10**6
MAX_SEEDS = 1000
_SEED_END = 2**64
# What a worker itself measures of any task.
SPENT_OBJECTIVES = ("energy", "emissions", "water_litres", "embodied_grams")
OptimizerName = Literal["sgd", "adam", "adamw", "adadelta", "adagrad", "rmsprop", "radam", "ranger"]
AugmentationName = Literal["flip", "translate", "crop"]


class Recipe(Written):
    """Every hyperparameter of a training run except its fidelity; the defaults are the paper's default network.

    DeepShift-PS at five weight bits and 16 + 16 activation bits, trained by SGD (Hennig, Tornede and Lindauer,
    arXiv 2404.01965, after Elhoushi et al., arXiv 1905.13298).

    Attributes:
        latent_learning_rate: of latents that are no weights (shift, sign, ...); None is `learning_rate`.
        weight_decay: of the weights that a layer computes with; on all other parameters inside the optimizer.
        schedule: of the learning rates over all steps: `cosine` to zero, `step` to a tenth at half and again at three
            quarters, `one-cycle` up from a twenty-fifth over the first 30 % and down to zero, or `constant`.
        gradient_clip_norm: largest norm of all gradients together; None does not clip.
        channels_last: images lie in memory with their channels last.
        precision: bfloat16 is PyTorch's autocast; weights and their rounding stay float32.
        compile: the network is compiled before its first step.
        augmentation: what happens to training images, in this order; None is what the data set does by default. A
            string such as "flip+crop" or "none" is taken as well, so that a search space can offer it.
    """

    quantizer: QuantizerName = "deepshift-ps"
    weight_bits: int = Field(5, ge=2, le=8)
    activation_integer_bits: int = Field(16, ge=1, le=32)
    activation_fraction_bits: int = Field(16, ge=0, le=32)
    rounding: Literal["nearest", "stochastic-log", "stochastic-linear"] = "nearest"
    optimizer: OptimizerName = "sgd"
    learning_rate: float = Field(0.1, gt=0)
    latent_learning_rate: float | None = Field(None, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    schedule: ScheduleName = "cosine"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    gradient_clip_norm: float | None = Field(None, gt=0)
    channels_last: bool = False
    precision: Precision = "float32"
    compile: bool = False
    batch_size: int = Field(128, ge=1)
    test_batch_size: int = Field(1000, ge=1)
    augmentation: tuple[AugmentationName, ...] | None = None

    @field_validator("augmentation", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return () if value == "none" else tuple(value.split("+"))
        return value


class Attempt(Frozen):
    """One evaluation of one config at one fidelity: what every worker is told, whatever it evaluates.

    Attributes:
        resume_from: where the checkpoint lies that training goes on from; None or nothing there starts afresh.
        checkpoint_to: where this trial leaves a checkpoint; None leaves none. Paths, or URLs that fsspec knows.
        rescue_to: folder where attempts at this trial that are told to end leave their training; None leaves nothing.
        rescued: the attempt that left there what this one goes on from, before `resume_from`; None or nothing of use
            begins anew. A task of the user's own always does.
        data_dir: folder of the data sets; None uses the worker's GREENSHIFT_DATA_DIR.
        model_path: where the trained weights are written, or None.
        site: what its energy means in carbon and water.
        time_limit_seconds: the trial fails when it runs longer, with attempts that it goes on from; None is no limit.
        memory_limit_bytes: the trial fails when its process of its own is resident with more; None is no limit, and
            a trial inside the worker's process has none.
    """

    study_id: str
    trial_id: str
    attempt: int = Field(1, ge=1)
    resume_from: str | None = None
    checkpoint_to: str | None = None
    rescue_to: str | None = None
    rescued: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=_SEED_END)
    data_dir: str | None = None
    model_path: str | None = None
    site: SiteSpec = SiteSpec()
    time_limit_seconds: float | None = Field(None, gt=0)
    memory_limit_bytes: int | None = Field(None, ge=1)


class TaskTrialSpec(Attempt):
    """One evaluation of a task of the user's own.

    Attributes:
        task: name of an entry point of `greenshift.tasks`.
        config: value of each active hyperparameter of its space.
        fidelity: None is the task's maximum.
    """

    task: str
    config: dict[str, Any]
    fidelity: float | None = None


class TrialSpec(Attempt):
    """One training of a network, complete: a worker needs to know nothing else. The weights go out as safetensors.

    Attributes:
        family: what the converted layers are: shift layers, layers trained for 8-bit integers, or float as they were.
        shift_depth: convolution and linear layers, counted from the output, that are converted; 0 or more.
        epochs: passes over the training split, at least 1; those of the trial that this one goes on from included.
        data_fraction: share of the training split that is trained on, 0..1; a smaller share is part of a larger one.
        extra_objectives: what else is measured: `inference_energy`, for which passes are repeated over five seconds,
            `latency`, `model_bytes`, `peak_memory_bytes`, and by models `water_litres`, `embodied_grams`.
        is_final: the network is trained on training and validation data and judged by the test split.
        n_seeds: networks that are trained in one trial, with `seed`, `seed + 1`, ...; limits are of all together, and
            the weights that are kept those of the first.
        weights_path: safetensors or torch file of weights to start from, before any layer is converted, or None.
    """

    dataset: str
    network: str
    recipe: Recipe
    family: Family = "shift"
    shift_depth: int = Field(ge=0)
    epochs: int = Field(ge=1, le=MAX_EPOCHS)
    data_fraction: float = Field(1.0, gt=0, le=1)
    extra_objectives: tuple[ExtraObjective, ...] = ()
    is_final: bool = False
    n_seeds: int = Field(1, ge=1, le=MAX_SEEDS)
    weights_path: str | None = None


AnyTrialSpec = TrialSpec | TaskTrialSpec


class Leg(Frozen):
    """What one trial spent on what another goes on with, or one attempt on what the next does; None is unknown.

    Attributes:
        epochs: that it trained to their ends.
    """

    trial_id: str
    epochs: int
    joules: float | None
    emissions_grams: float | None
    water_litres: float | None = None
    embodied_grams: float | None = None
    method: Method
    device: str

    @classmethod
    def of(cls, trial_id: str, epochs: int, energy: EnergyReport) -> Leg:
        """The leg of a trial that trained `epochs` epochs of its own."""
        return cls(
            trial_id=trial_id,
            epochs=epochs,
            joules=energy.joules,
            emissions_grams=energy.emissions_grams,
            water_litres=energy.water_litres,
            embodied_grams=energy.embodied_grams,
            method=energy.method,
            device=energy.device,
        )


class EpochMetrics(Frozen):
    """What one epoch of training came to, while the trial goes on; losing one harms nothing.

    Attributes:
        epoch: counted from 1, and on from one seed to the next: the first epoch of the second seed is `epochs` + 1.
        training_loss: mean over the epoch.
        seconds: that the epoch took.
    """

    study_id: str
    trial_id: str
    attempt: int
    epoch: int
    training_loss: float
    seconds: float


class FailureKind(StrEnum):
    """Why a trial did not complete."""

    CONFIGURATION = "configuration"
    OUT_OF_MEMORY = "out_of_memory"
    MEMORY_LIMIT = "memory_limit"
    TIME_LIMIT = "time_limit"
    DIVERGED = "diverged"
    CRASHED = "crashed"
    WORKER_LOST = "worker_lost"
    CANCELLED = "cancelled"


class Failure(Frozen):
    """A failure as data: torch exceptions cannot be unpickled where torch is absent."""

    kind: FailureKind
    message: str
    traceback: str = ""


class Interim(Frozen):
    """What is known of an attempt before it is over, and what a failed one leaves.

    Attributes:
        energy: that training and evaluation have spent so far; None before the first window is closed.
        inference: that passes repeated to measure an inference have spent so far.
        earlier_legs: of the trials and attempts that this one goes on from.
        seconds_before: that the attempts took which this one goes on from.
        rescued: the attempt that left the training which the next one can go on from; None is none.
    """

    energy: EnergyReport | None = None
    inference: InferenceEnergy | None = None
    earlier_legs: tuple[Leg, ...] = ()
    seconds_before: float = 0.0
    rescued: int | None = None

    @classmethod
    def at_first(cls, spec: AnyTrialSpec) -> Interim:
        """Before anything is done, all that an earlier attempt left is there still."""
        return cls(rescued=spec.rescued)


class LayerSummary(Frozen):
    """The weights of one trained convolution or linear layer, as counts.

    Attributes:
        exponents: for each e the weights with 2**e <= abs(w) < 2**(e + 1); of a shift layer abs(w) is 2**e.
        weight_bits: None where weights are floating point.
    """

    name: str
    n_weights: int = Field(ge=0)
    n_zeros: int = Field(ge=0)
    exponents: dict[int, int]
    is_shift: bool
    weight_bits: int | None


class TrialResult(Frozen):
    """What came of one attempt at one trial; `failure` is None exactly where the trial completed.

    Attributes:
        objectives: by name: `error`, `deployment_energy`, `energy`, `emissions`; of a task its own and what it spent.
        int8_deployment_energy: of the same network with 8-bit multiplications, to compare with.
        inference: what stands behind `inference_energy`, where that was asked for; its joules are no part of `energy`.
        by_seed: `objectives` of each seed alone, where the trial trained several.
        training_loss: mean loss of each epoch that this trial trained, in all its attempts, one seed after the other.
        earlier_legs: of the trials and of the own attempts that this one went on from, first one first; `energy` is of
            this attempt alone, the objectives `energy`, `emissions`, `water_litres` and `embodied_grams` of all legs.
        layers: of the trained network, where the trial trained several of the first; empty of a task, and of results
            from before workers told them.
        duration_seconds: of the whole attempt, data loading included.
        seconds_before: that the attempts took which this one went on from.
        rescued: of a trial that is to be tried again, the attempt that left its training to go on from; None is none.
    """

    study_id: str
    trial_id: str
    attempt: int
    objectives: dict[str, Measurement] = Field(default_factory=dict)
    by_seed: tuple[dict[str, Measurement], ...] = ()
    int8_deployment_energy: Measurement | None = None
    energy: EnergyReport | None = None
    inference: InferenceEnergy | None = None
    training_loss: tuple[float, ...] = ()
    earlier_legs: tuple[Leg, ...] = ()
    layers: tuple[LayerSummary, ...] = ()
    duration_seconds: float = 0.0
    seconds_before: float = 0.0
    rescued: int | None = None
    worker: str = ""
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        """Of the whole trial: of this attempt and those that it went on from."""
        return self.seconds_before + self.duration_seconds


class TaskFacts(Frozen):
    """What a worker knows of a data set and a network before any trial runs.

    Attributes:
        deployment: None where an earlier version answered.
    """

    n_layers: int
    image_shape: tuple[int, int, int]
    n_classes: int
    n_train: int
    n_validation: int
    n_test: int
    device: str
    deployment: DeploymentTable | None = None


class NetworkFile(Frozen):
    """A trained network in one form, in a file of its own.

    Attributes:
        name: of the file.
        missing: why the file is not there, for people; None where it is.
    """

    name: str
    missing: str | None = None


class TaskObjective(Frozen):
    """What a task of the user's own measures.

    Attributes:
        unit: such as `s`; `ratio` is shown as a bare number of 0..1, and an empty one is none.
        quality: `estimated` where the task computes a model's figure.
    """

    direction: Literal["minimize", "maximize"]
    unit: str = ""
    quality: Literal["measured", "estimated"] = "measured"


class TaskFidelity(Frozen):
    """What makes an evaluation of a task cheaper, such as a number of trees.

    Attributes:
        eta: one config in `eta` is promoted, 2 or more.
    """

    min_fidelity: float = Field(gt=0)
    max_fidelity: float = Field(gt=0)
    eta: int = Field(3, ge=2)


class TaskDescription(Frozen):
    """What a worker knows of a task of the user's own before any trial runs.

    Attributes:
        space: ConfigSpace's own JSON.
        objectives: by name, those that the task measures itself.
        fidelity: None evaluates every config in full.
    """

    name: str
    space: dict[str, Any]
    objectives: dict[str, TaskObjective]
    fidelity: TaskFidelity | None
    device: str


AnyFacts = TaskFacts | TaskDescription
