"""The recipe of one trial: seed, build, convert, train and evaluate under the meter, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import nn, optim

from shiftlayers import shiftable_layers
from worker.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_state,
    or_without,
    restore_optimizer,
    save_checkpoint,
)
from worker.data import SPLIT_SEED, Dataset, Split, fetch_dataset, join, load_dataset
from worker.energy.carbon import carbon_model, check_site
from worker.energy.devices import describe, gpu_uuid, pick_device, synchronize
from worker.energy.meter import EnergyMeter
from worker.energy.sources import open_source
from worker.errors import ConfigurationError, StoppedError, WorkerError
from worker.families import build_model, convert, deployment_cost
from worker.layers import summarize_layers
from worker.models import build_network, example_input, load_weights
from worker.objectives import (
    Trained,
    analytic,
    measure_inference_energy,
    measure_objectives,
    peak_memory,
    reset_peak_memory,
)
from worker.optimizers import make_optimizer
from worker.rescue import Unfinished, random_states, restore_random
from worker.schema import (
    AnyTrialSpec,
    EnergyReport,
    EpochMetrics,
    InferenceEnergy,
    Interim,
    Leg,
    SiteSpec,
    TaskFacts,
    TrialResult,
    TrialSpec,
)
from worker.tabulate import deployment_table
from worker.train import BEGINNING, Position, evaluate, train


def run(
    spec: TrialSpec,
    on_interim: Callable[[Interim], None] = lambda _: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    unfinished: Unfinished | None = None,
    on_stop: Callable[[Unfinished], None] = lambda _: None,
) -> TrialResult:
    """Trains and evaluates the network of `spec`.

    Args:
        spec: what to train.
        on_interim: is given what is known by now, also what training and evaluation spent where they fail.
        on_epoch: is given the metrics of each epoch of training.
        should_stop: is asked after every batch of training, and before passes that are repeated.
        unfinished: training that an earlier attempt left, to go on with.
        on_stop: is given what a later attempt may go on with, where `should_stop` said so.

    Raises:
        ConfigurationError: the data set, the network or the shift depth does not exist.
        DivergedError: training left the finite numbers.
        StoppedError: `should_stop` said so.
    """
    device = pick_device()
    data = load_dataset(spec.dataset, spec.data_dir)
    torch.manual_seed(spec.seed)
    earlier = _earlier(spec, unfinished)
    so_far = Interim(earlier_legs=earlier.legs if earlier is not None else ())
    on_interim(so_far)
    training = _begin(spec, earlier, data, device)
    if unfinished is not None:
        training.start, training.peak_memory_bytes = unfinished.position, unfinished.peak_memory_bytes
        restore_random(unfinished.random, device)
    try:
        return _run(training, data, so_far, on_interim, on_epoch, should_stop)
    except StoppedError:
        if (left := _unfinished(training, so_far.earlier_legs)) is not None:
            on_stop(left)
        raise


def _run(
    training: _Training,
    data: Dataset,
    so_far: Interim,
    on_interim: Callable[[Interim], None],
    on_epoch: Callable[[EpochMetrics], None],
    should_stop: Callable[[], bool],
) -> TrialResult:
    """Trains and evaluates under the meter, and reports."""
    spec, device = training.spec, training.device
    learned, judge = (split.to(device) for split in _splits(spec, data))
    meter = make_meter(device, spec.site)
    reset_peak_memory(device)
    try:
        with meter:
            losses = _train(training, learned, data, on_epoch, should_stop)
            error = _judge(training, judge)
    finally:
        training.energy = energy = meter.report()
        so_far = so_far.model_copy(update={"energy": energy})
        on_interim(so_far)
    _leave(training, so_far.earlier_legs, energy)
    if "inference_energy" in spec.extra_objectives:
        try:
            inference = measure_inference_energy(lambda: _judge(training, judge), len(judge), meter, should_stop)
        except WorkerError:
            # Stopped in the middle: what the passes had spent by then is known, and no energy of one image.
            if (report := meter.report()) is not energy:
                on_interim(so_far.model_copy(update={"inference": InferenceEnergy.broken_off(len(judge), report)}))
            raise
        so_far = so_far.model_copy(update={"inference": inference})
        on_interim(so_far)
    peak = peak_memory(device, training.peak_memory_bytes)
    trained = Trained(spec, training.model, data, device, error, energy, so_far.inference, so_far.earlier_legs, peak)
    return TrialResult(
        study_id=spec.study_id,
        trial_id=spec.trial_id,
        attempt=spec.attempt,
        objectives=measure_objectives(trained),
        int8_deployment_energy=analytic(deployment_cost(training.model, "float", data.image_shape).twin("int8")),
        training_loss=losses,
        layers=summarize_layers(training.model),
        **dict(so_far),
    )


@dataclass
class _Training:
    """A training that begins, or goes on from a checkpoint.

    Attributes:
        start: what was behind it when it began here.
        stopped: where it can go on, once it has stopped there or is done.
        energy: that it spent here, once that is known.
        peak_memory_bytes: the largest memory of the attempts that it goes on from.
    """

    spec: TrialSpec
    model: nn.Module
    optimizer: optim.Optimizer
    generator: torch.Generator
    device: torch.device
    start: Position = BEGINNING
    stopped: Position | None = None
    energy: EnergyReport | None = None
    peak_memory_bytes: float | None = None

    def stop(self, position: Position) -> None:
        """Nothing trains it any more."""
        self.stopped = position


def _earlier(spec: TrialSpec, unfinished: Unfinished | None) -> Checkpoint | None:
    if unfinished is not None:
        return unfinished.checkpoint
    return load_checkpoint(spec.resume_from) if spec.resume_from is not None else None


def _begin(spec: TrialSpec, earlier: Checkpoint | None, data: Dataset, device: torch.device) -> _Training:
    """A fresh network, or the one of the checkpoint with further layers converted and all that it remembers."""
    generator = torch.Generator().manual_seed(spec.seed)
    if earlier is None:
        model = _place(build_model(spec, data), spec, device)
        return _Training(spec, model, make_optimizer(model, spec.recipe), generator, device)
    if earlier.shift_depth > spec.shift_depth or earlier.epochs > spec.epochs:
        raise ConfigurationError(
            f"resume_from: its network has {earlier.shift_depth} layers converted and {earlier.epochs} epochs behind "
            f"it, more than shift_depth {spec.shift_depth} or epochs {spec.epochs}"
        )
    model = build_model(spec.model_copy(update={"shift_depth": earlier.shift_depth, "weights_path": None}), data)
    model.load_state_dict(earlier.model)
    model = _place(convert(model, spec, spec.shift_depth, data), spec, device)
    optimizer = make_optimizer(model, spec.recipe)
    restore_optimizer(optimizer, model, earlier.optimizer)
    generator.set_state(earlier.generator)
    return _Training(spec, model, optimizer, generator, device, Position(epochs=earlier.epochs))


def _place(model: nn.Module, spec: TrialSpec, device: torch.device) -> nn.Module:
    model = model.to(device)
    return model.to(memory_format=torch.channels_last) if spec.recipe.channels_last else model


def _splits(spec: TrialSpec, data: Dataset) -> tuple[Split, Split]:
    """What the network learns from and what judges it: the test split is for final trainings alone.

    A share of the data is the first images of one fixed random order: a smaller share is part of a larger one.
    """
    learned, judge = (join(data.train, data.validation), data.test) if spec.is_final else (data.train, data.validation)
    if spec.data_fraction == 1:
        return learned, judge
    order = torch.randperm(len(learned), generator=torch.Generator().manual_seed(SPLIT_SEED))
    chosen = order[: max(1, round(spec.data_fraction * len(learned)))].sort().values
    return learned.subset(chosen), judge


def _train(
    training: _Training,
    learned: Split,
    data: Dataset,
    on_epoch: Callable[[EpochMetrics], None],
    should_stop: Callable[[], bool],
) -> tuple[float, ...]:
    """Mean loss of each epoch."""
    recipe = training.spec.recipe
    losses = train(
        cast(nn.Module, torch.compile(training.model)) if recipe.compile else training.model,
        learned,
        recipe,
        training.spec.epochs,
        training.generator,
        augmentation=data.augmentation,
        optimizer=training.optimizer,
        start=training.start,
        on_epoch=EpochStream(training.spec, on_epoch),
        should_stop=should_stop,
        on_stop=training.stop,
    )
    training.stop(Position(training.spec.epochs, losses=losses))
    return losses


def _judge(training: _Training, judge: Split) -> float:
    """The error on a split, 0..1."""
    recipe = training.spec.recipe
    model, batch_size, precision = training.model, recipe.test_batch_size, recipe.precision
    return evaluate(model, judge, batch_size, precision, channels_last=recipe.channels_last)


def _leave(training: _Training, earlier_legs: tuple[Leg, ...], energy: EnergyReport) -> None:
    """Writes what the spec asks for: a checkpoint for another trial to go on from, and the weights."""
    spec = training.spec
    if (url := spec.checkpoint_to) is not None:
        with or_without("the checkpoint", url):
            save_checkpoint(_checkpoint(training, spec.epochs, earlier_legs, energy), url)
    if (path := spec.model_path) is not None:
        with or_without("the weights", path):
            _save(training.model, Path(path))


def _unfinished(training: _Training, earlier_legs: tuple[Leg, ...]) -> Unfinished | None:
    """What a later attempt needs to go on; None where the training was stopped in the middle of a step."""
    position, energy = training.stopped, training.energy
    if position is None or energy is None:
        return None
    checkpoint = _checkpoint(training, position.epochs, earlier_legs, energy)
    peak = peak_memory(training.device, training.peak_memory_bytes)
    return Unfinished(checkpoint, position, random_states(training.device), peak)


def _checkpoint(training: _Training, epochs: int, earlier_legs: tuple[Leg, ...], energy: EnergyReport) -> Checkpoint:
    spec = training.spec
    return Checkpoint(
        trial_id=spec.trial_id,
        epochs=epochs,
        shift_depth=spec.shift_depth,
        model=training.model.state_dict(),
        optimizer=optimizer_state(training.optimizer, training.model),
        generator=training.generator.get_state(),
        legs=(*earlier_legs, Leg.of(spec.trial_id, epochs - training.start.epochs, energy)),
    )


class EpochStream:
    """Says what each epoch came to, and how long it took."""

    def __init__(self, spec: AnyTrialSpec, on_epoch: Callable[[EpochMetrics], None]) -> None:
        self._spec, self._on_epoch = spec, on_epoch
        self._started = time.monotonic()

    def __call__(self, epoch: int, loss: float) -> None:
        now = time.monotonic()
        names = {"study_id": self._spec.study_id, "trial_id": self._spec.trial_id, "attempt": self._spec.attempt}
        self._on_epoch(EpochMetrics(**names, epoch=epoch, training_loss=loss, seconds=now - self._started))
        self._started = now


def inspect(
    dataset: str,
    network: str,
    data_dir: str | None,
    *,
    download: bool = False,
    weights_path: str | None = None,
    site: SiteSpec | None = None,
) -> TaskFacts:
    """What this worker knows of a data set and a network, without training.

    Raises:
        ConfigurationError: one of them, or the weights to start from, does not exist here, or they do not fit, or the
            country or region of `site` is unknown.
    """
    if site is not None:
        check_site(site)
    if download:
        fetch_dataset(dataset, data_dir)
    data = load_dataset(dataset, data_dir)
    model = build_network(network, data.image_shape, data.n_classes)
    if weights_path is not None:
        load_weights(model, Path(weights_path), example_input(data.image_shape))
    return TaskFacts(
        n_layers=len(shiftable_layers(model, example_input(data.image_shape))),
        image_shape=data.image_shape,
        n_classes=data.n_classes,
        n_train=len(data.train),
        n_validation=len(data.validation),
        n_test=len(data.test),
        device=describe(pick_device()),
        deployment=deployment_table(model, data.image_shape),
    )


def make_meter(device: torch.device, site: SiteSpec | None = None) -> EnergyMeter:
    """The meter of `device`: its GPU's counter, or a counter or a model of CPU and memory.

    Raises:
        ConfigurationError: the country or region of `site` is unknown.
    """
    return EnergyMeter(
        carbon=carbon_model(site or SiteSpec()),
        site=site or SiteSpec(),
        source=open_source(gpu_uuid(device) if device.type == "cuda" else None),
        device=describe(device),
        synchronize=lambda: synchronize(device),
    )


def _save(model: nn.Module, path: Path) -> None:
    """The weights whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
