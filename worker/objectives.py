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
from worker.energy.meter import INFERENCE_SECONDS, EnergyMeter, measure_inference
from worker.errors import StoppedError
from worker.families import Int8Layer, deployment_cost
from worker.schema import EnergyReport, ExtraObjective, InferenceEnergy, Leg, Measurement, Quality, TrialSpec
from worker.train import predict

N_LATENCY_PASSES = 7
_BYTES_OF_FLOAT = 4
# What a trial spends: the field of a report and of a leg that each objective is the sum of, and its unit.
SPENT = {
    "energy": ("joules", "J"),
    "emissions": ("emissions_grams", "gCO2eq"),
    "water_litres": ("water_litres", "L"),
    "embodied_grams": ("embodied_grams", "gCO2eq"),
}
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Trained:
    """A network after training, with all that its objectives are made of.

    Attributes:
        peak_memory_bytes: the largest memory until now, in all attempts that went on from each other.
    """

    spec: TrialSpec
    model: nn.Module
    data: Dataset
    device: torch.device
    error: float
    energy: EnergyReport
    inference: InferenceEnergy | None = None
    earlier_legs: Sequence[Leg] = ()
    peak_memory_bytes: float | None = None


def measure_inference_energy(
    one_pass: Callable[[], object],
    n_images: int,
    meter: EnergyMeter,
    should_stop: Callable[[], bool] = lambda: False,
    at_least_seconds: float = INFERENCE_SECONDS,
) -> InferenceEnergy:
    """Energy per image of passes over `n_images` images, after one to warm up that nobody measures.

    Raises:
        StoppedError: `should_stop`, which is asked before every pass, said so.
    """

    def checked_pass() -> None:
        if should_stop():
            raise StoppedError("stopped while passes were repeated for the energy of an inference")
        one_pass()

    checked_pass()
    return measure_inference(meter, checked_pass, n_images, at_least_seconds)


def measure_objectives(trained: Trained) -> dict[str, Measurement]:
    """Every objective, those that the spec asks for besides included."""
    cost = deployment_cost(trained.model, trained.spec.family, trained.data.image_shape)
    spending = spent(trained.energy, trained.earlier_legs)
    always = {
        "error": Measurement(value=trained.error, unit="ratio", method="evaluation", quality="measured"),
        "deployment_energy": analytic(cost),
        "energy": spending["energy"],
        "emissions": spending["emissions"],
    }
    asked = {name: spending.get(name) or _EXTRA[name](trained) for name in trained.spec.extra_objectives}
    return always | asked


def spent(energy: EnergyReport, earlier_legs: Sequence[Leg]) -> dict[str, Measurement]:
    """The objectives that tell what a trial spent, with all trials that it went on from."""
    return {name: _of_all_legs(name, energy, earlier_legs) for name in SPENT}


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


def peak_memory(device: torch.device, before: float | None) -> float | None:
    """Largest memory in bytes since `reset_peak_memory`: allocated on the GPU, or resident of this process.

    Args:
        device: that was trained on.
        before: that of earlier attempts, or None.
    """
    value: float | None = None
    if device.type == "cuda":
        value = float(torch.cuda.max_memory_allocated(device))
    elif _STATUS.exists():
        line = next((line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")), None)
        value = None if line is None else float(line.split()[1]) * 1024
    return value if value is None or before is None else max(value, before)


def _of_all_legs(name: str, energy: EnergyReport, earlier_legs: Sequence[Leg]) -> Measurement:
    """The sum over all legs; unknown where a leg is, or where legs were read in other ways or on other devices."""
    field, unit = SPENT[name]
    is_one = all((leg.method, leg.device) == (energy.method, energy.device) for leg in earlier_legs)
    values = [getattr(part, field) for part in (energy, *earlier_legs)]
    if not is_one or None in values:
        return Measurement(value=None, unit=unit, method="none", quality="none")
    # A measured energy times a tabulated factor is an estimate. It keeps the method of the energy beneath it, so that
    # methods are never mixed in a ranking.
    quality: Quality = energy.quality if name == "energy" else "estimated"
    return Measurement(value=sum(values), unit=unit, method=energy.method, quality=quality)


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
    if trained.peak_memory_bytes is None:
        return Measurement(value=None, unit="B", method="none", quality="none")
    return Measurement(value=trained.peak_memory_bytes, unit="B", method="evaluation", quality="measured")


def _inference_energy(trained: Trained) -> Measurement:
    if trained.inference is None:
        return Measurement(value=None, unit="J / image", method="none", quality="none")
    return trained.inference.measurement


_EXTRA: dict[ExtraObjective, Callable[[Trained], Measurement]] = {
    "inference_energy": _inference_energy,
    "latency": _latency,
    "model_bytes": _model_bytes,
    "peak_memory_bytes": _peak_memory,
}
