"""The objectives of a trained network, each a value with its method, quality and unit."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from shiftlayers import CostEstimate, save_packed
from worker.data import Dataset
from worker.energy.devices import synchronize
from worker.energy.footprint import embodied_measurement, water_measurement
from worker.families import Int8Layer, deployment_cost
from worker.schema import EnergyReport, ExtraObjective, Leg, Measurement, TrialSpec
from worker.train import predict

N_LATENCY_PASSES = 7
_BYTES_OF_FLOAT = 4
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Trained:
    """A network after training, with all that its objectives are made of."""

    spec: TrialSpec
    model: nn.Module
    data: Dataset
    device: torch.device
    error: float
    energy: EnergyReport
    earlier_legs: Sequence[Leg] = ()


def measure_objectives(trained: Trained) -> dict[str, Measurement]:
    """Every objective, those that the spec asks for besides included."""
    cost = deployment_cost(trained.model, trained.spec.family, trained.data.image_shape)
    always = {
        "error": Measurement(value=trained.error, unit="ratio", method="evaluation", quality="measured"),
        "deployment_energy": analytic(cost),
        **spent(trained.energy, trained.earlier_legs),
    }
    return always | {name: _EXTRA[name](trained) for name in trained.spec.extra_objectives}


def spent(energy: EnergyReport, earlier_legs: Sequence[Leg]) -> dict[str, Measurement]:
    """The objectives `energy` and `emissions` of a trial and of all that it went on from."""
    emissions = _of_all_legs(
        "gCO2eq", energy, earlier_legs, energy.emissions_grams, [leg.emissions_grams for leg in earlier_legs]
    )
    if emissions.value is not None:
        # A measured energy times a tabulated intensity is an estimate.
        emissions = emissions.model_copy(update={"quality": "estimated"})
    joules = [leg.joules for leg in earlier_legs]
    return {"energy": _of_all_legs("J", energy, earlier_legs, energy.joules, joules), "emissions": emissions}


def analytic(cost: CostEstimate) -> Measurement:
    """Energy of one inference by operation counts, J / image."""
    return Measurement(value=cost.total_joules, unit="J / image", method="analytic", quality="estimated")


def reset_peak_memory(device: torch.device) -> None:
    """Begins a new peak, of the GPU's allocations or of this process's resident size."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        # "5" sets the peak of the resident size back to its present value (proc(5)).
        _RESET.write_text("5")


def _of_all_legs(
    unit: str, energy: EnergyReport, legs: Sequence[Leg], own: float | None, earlier: list[float | None]
) -> Measurement:
    """The sum over all legs; unknown where a leg is, or where legs were read in other ways or on other devices."""
    is_one = all((leg.method, leg.device) == (energy.method, energy.device) for leg in legs)
    known = [value for value in (own, *earlier) if value is not None]
    if not is_one or len(known) <= len(earlier):
        return Measurement(value=None, unit=unit, method="none", quality="none")
    return Measurement(value=sum(known), unit=unit, method=energy.method, quality=energy.quality)


def _latency(trained: Trained) -> Measurement:
    """Seconds per image of a batch of `test_batch_size`, the median of several passes after one to warm up."""
    recipe = trained.spec.recipe
    images = trained.data.validation.batch(slice(recipe.test_batch_size)).to(trained.device)
    seconds = []
    trained.model.eval()
    with torch.inference_mode():
        for _ in range(1 + N_LATENCY_PASSES):
            synchronize(trained.device)
            started = time.perf_counter()
            predict(trained.model, images, recipe.precision, channels_last=recipe.channels_last)
            synchronize(trained.device)
            seconds.append(time.perf_counter() - started)
    value = statistics.median(seconds[1:]) / len(images)
    return Measurement(value=value, unit="s / image", method="evaluation", quality="measured")


def _model_bytes(trained: Trained) -> Measurement:
    """Bytes of the network as a packed file, a weight of 8-bit layers counted as one byte."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "packed.safetensors"
        save_packed(trained.model, path)
        n_bytes = path.stat().st_size
    n_integers = sum(layer.weight.numel() for layer in trained.model.modules() if isinstance(layer, Int8Layer))
    n_bytes -= n_integers * (_BYTES_OF_FLOAT - 1)
    return Measurement(value=float(n_bytes), unit="B", method="evaluation", quality="measured")


def _peak_memory(trained: Trained) -> Measurement:
    """Largest memory since `reset_peak_memory`: allocated on the GPU, or resident of this process."""
    value: float | None = None
    if trained.device.type == "cuda":
        value = float(torch.cuda.max_memory_allocated(trained.device))
    elif _STATUS.exists():
        line = next((line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")), None)
        value = None if line is None else float(line.split()[1]) * 1024
    if value is None:
        return Measurement(value=None, unit="B", method="none", quality="none")
    return Measurement(value=value, unit="B", method="evaluation", quality="measured")


_EXTRA: dict[ExtraObjective, Callable[[Trained], Measurement]] = {
    "latency": _latency,
    "model_bytes": _model_bytes,
    "peak_memory_bytes": _peak_memory,
    "water_litres": lambda trained: water_measurement(trained.energy),
    "embodied_grams": lambda trained: embodied_measurement(trained.energy),
}
