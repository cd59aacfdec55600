"""The recipe of one trial: seed, build, convert, train and evaluate under the meter, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from shiftlayers import CostEstimate, ShiftConfig, convert_to_shift, estimate_cost, shiftable_layers
from worker.data import Dataset, Split, fetch_dataset, load_dataset
from worker.energy.carbon import carbon_model
from worker.energy.devices import describe, gpu_uuid, pick_device, synchronize
from worker.energy.meter import EnergyMeter
from worker.energy.sources import open_source
from worker.errors import ConfigurationError
from worker.models import build_network, example_input
from worker.schema import (
    EnergyReport,
    EpochMetrics,
    Measurement,
    Recipe,
    SiteSpec,
    TaskFacts,
    TrialResult,
    TrialSpec,
)
from worker.train import evaluate, train


def run(
    spec: TrialSpec,
    on_energy: Callable[[EnergyReport], None] = lambda _: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrialResult:
    """Trains and evaluates the network of `spec`.

    Args:
        spec: what to train.
        on_energy: is given what training and evaluation spent, also where they fail.
        on_epoch: is given the metrics of each epoch of training.
        should_stop: is asked after every batch of training.

    Raises:
        ConfigurationError: the data set, the network or the shift depth does not exist.
        DivergedError: training left the finite numbers.
        StoppedError: `should_stop` said so.
    """
    device = pick_device()
    data = load_dataset(spec.dataset, spec.data_dir)
    torch.manual_seed(spec.seed)
    model = build_shift_network(spec, data).to(device)
    train_split, validation = _to_device(data.train, device), _to_device(data.validation, device)
    meter = make_meter(device, spec.site)
    generator = torch.Generator().manual_seed(spec.seed)
    stream = _EpochStream(spec, on_epoch)
    try:
        with meter:
            losses = train(
                model,
                train_split,
                spec.recipe,
                spec.epochs,
                generator,
                augment=data.augment,
                on_epoch=stream,
                should_stop=should_stop,
            )
            error = evaluate(model, validation, spec.recipe.test_batch_size)
    finally:
        on_energy(meter.report())
    if spec.model_path is not None:
        _save(model, Path(spec.model_path))
    return TrialResult(
        study_id=spec.study_id,
        trial_id=spec.trial_id,
        attempt=spec.attempt,
        objectives=measure_objectives(error, model, data, meter.report()),
        int8_deployment_energy=_analytic(estimate_cost(model, data.image_shape).twin("int8")),
        energy=meter.report(),
        training_loss=losses,
    )


class _EpochStream:
    """Says what each epoch came to, and how long it took."""

    def __init__(self, spec: TrialSpec, on_epoch: Callable[[EpochMetrics], None]) -> None:
        self._spec, self._on_epoch = spec, on_epoch
        self._started = time.monotonic()

    def __call__(self, epoch: int, loss: float) -> None:
        now = time.monotonic()
        names = {"study_id": self._spec.study_id, "trial_id": self._spec.trial_id, "attempt": self._spec.attempt}
        self._on_epoch(EpochMetrics(**names, epoch=epoch, training_loss=loss, seconds=now - self._started))
        self._started = now


def inspect(dataset: str, network: str, data_dir: str | None, *, download: bool = False) -> TaskFacts:
    """What this worker knows of a data set and a network, without training.

    Raises:
        ConfigurationError: one of them does not exist here.
    """
    if download:
        fetch_dataset(dataset, data_dir)
    data = load_dataset(dataset, data_dir)
    model = build_network(network, data.image_shape, data.n_classes)
    return TaskFacts(
        n_layers=len(shiftable_layers(model, example_input(data.image_shape))),
        image_shape=data.image_shape,
        n_classes=data.n_classes,
        n_train=len(data.train),
        n_validation=len(data.validation),
        n_test=len(data.test),
        device=describe(pick_device()),
    )


def build_shift_network(spec: TrialSpec, data: Dataset) -> nn.Module:
    """The network of `spec` with its last `shift_depth` layers converted, on the CPU, from torch's global seed.

    Raises:
        ConfigurationError: the network does not exist or has fewer layers.
    """
    model = build_network(spec.network, data.image_shape, data.n_classes)
    try:
        return convert_to_shift(
            model,
            shift_config(spec.recipe),
            spec.shift_depth,
            example_input=example_input(data.image_shape),
        )
    except ValueError as error:
        raise ConfigurationError(f"shift_depth of {spec.network}: {error}") from error


def shift_config(recipe: Recipe) -> ShiftConfig:
    """What the shift layers of `recipe` are made of."""
    return ShiftConfig(
        quantizer=recipe.quantizer,
        weight_bits=recipe.weight_bits,
        rounding=recipe.rounding,
        activation_bits=(recipe.activation_integer_bits, recipe.activation_fraction_bits),
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


def measure_objectives(error: float, model: nn.Module, data: Dataset, energy: EnergyReport) -> dict[str, Measurement]:
    """Every objective of a trained network, each with its method, quality and unit."""
    return {
        "error": Measurement(value=error, unit="ratio", method="evaluation", quality="measured"),
        "deployment_energy": _analytic(estimate_cost(model, data.image_shape)),
        "energy": Measurement(value=energy.joules, unit="J", method=energy.method, quality=energy.quality),
        "emissions": Measurement(
            value=energy.emissions_grams,
            unit="gCO2eq",
            method=energy.method,
            # A measured energy times a tabulated intensity is an estimate.
            quality="estimated" if energy.emissions_grams is not None else "none",
        ),
    }


def _analytic(cost: CostEstimate) -> Measurement:
    return Measurement(value=cost.total_joules, unit="J / image", method="analytic", quality="estimated")


def _to_device(split: Split, device: torch.device) -> Split:
    return Split(split.images.to(device), split.labels.to(device))


def _save(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
