"""Energy per image of real passes against a fake GPU whose power is known at every instant."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch

from tests.fakes.in_process import square_wave, true_joules
from tests.fakes.nvml import FIRST_GPU
from worker import trial
from worker.data import load_dataset
from worker.energy.gpu import GpuSource
from worker.energy.meter import EnergyMeter
from worker.energy.monitor import GpuMonitor
from worker.energy.nvml import open_gpu
from worker.energy.reading import NoSource, Reading
from worker.energy.sources import GpuAndHost
from worker.entry import run_trial
from worker.errors import StoppedError
from worker.models import build_network
from worker.objectives import measure_inference_energy
from worker.schema import FailureKind, Method, Quality, Recipe, TrialSpec
from worker.train import evaluate

# What the fake draws unless it is told otherwise.
WATTS = 60.0


class KilojouleCounter:
    """A counter that reads 1,000 J for every window."""

    method: Method = "nvml_energy_delta"
    quality: Quality = "measured"

    def begin(self) -> None:
        pass

    def end(self) -> Reading:
        return Reading(1000.0)


def fake_gpu() -> GpuAndHost:
    return GpuAndHost(FIRST_GPU, GpuSource(GpuMonitor(lambda: open_gpu(FIRST_GPU), linger_seconds=0.0)), NoSource())


def meter_of_fake_gpu() -> EnergyMeter:
    return EnergyMeter(fake_gpu(), "Fake GPU", lambda: None)


def make_spec(**changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8", "recipe": Recipe()}
    quick = {"shift_depth": 1, "epochs": 1, "data_fraction": 0.1}
    return TrialSpec(**{**fields, **quick, "extra_objectives": ("inference_energy",), **changes})


class Passes:
    """Real passes of a network over the validation split, and when each began and ended."""

    def __init__(self) -> None:
        self.data = load_dataset("digits")
        self.model = build_network("resnet8", self.data.image_shape, self.data.n_classes)
        self.times: list[tuple[float, float]] = []

    def __call__(self) -> None:
        started = time.time()
        evaluate(self.model, self.data.validation, 100)
        self.times.append((started, time.time()))


@pytest.mark.slow
def test_the_energy_of_real_passes_is_that_of_the_gpu_between_them(nvml):
    square_wave(nvml)
    passes, n_images = Passes(), len(load_dataset("digits").validation)

    inference = measure_inference_energy(passes, n_images, meter_of_fake_gpu(), at_least_seconds=3.0)

    # The first pass is there to warm up.
    measured = passes.times[1:]
    assert inference.n_passes == inference.report.repeats == len(measured) > 1
    truth = true_joules(measured[0][0], measured[-1][1]) / (len(measured) * n_images)
    assert inference.joules_per_image == pytest.approx(truth, rel=0.05)
    assert (inference.measurement.method, inference.measurement.quality) == ("nvml_energy_timeline", "measured")
    assert inference.uncertainty_joules_per_image < 0.1 * inference.joules_per_image


def paced_passes(seconds: float):
    """Passes that take `seconds` on average, the first one nothing at all."""
    ends: list[float] = []

    def one_pass() -> None:
        ends.append(ends[-1] + seconds if len(ends) > 1 else time.monotonic() + seconds * len(ends))
        time.sleep(max(0.0, ends[-1] - time.monotonic()))

    return one_pass


def test_passes_of_a_known_length_have_a_known_energy(nvml):
    inference = measure_inference_energy(paced_passes(0.05), 50, meter_of_fake_gpu(), at_least_seconds=0.55)

    assert inference.joules_per_image == pytest.approx(WATTS * 0.05 / 50, rel=0.05)


def test_a_stop_ends_the_passes():
    asked = iter([False, False, True])

    with pytest.raises(StoppedError, match="passes were repeated"):
        measure_inference_energy(lambda: None, 1, EnergyMeter(NoSource(), "CPU", lambda: None), lambda: next(asked))


# Whole trials


@pytest.fixture
def quick(monkeypatch):
    """Trials whose window of inference is as short as it can be."""
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())
    one_pass = partial(measure_inference_energy, at_least_seconds=0.0)
    monkeypatch.setattr(trial, "measure_inference_energy", one_pass)


def test_inference_is_an_objective_and_its_energy_is_no_part_of_the_trials(quick):
    result = run_trial(make_spec())

    n_images = len(load_dataset("digits").validation)
    objective = result.objectives["inference_energy"]
    assert (objective.value, objective.unit) == (1000.0 / n_images, "J / image")
    assert (objective.method, objective.quality) == ("nvml_energy_delta", "measured")
    assert (result.inference.n_images, result.inference.report.joules) == (n_images, 1000.0)
    assert result.energy.joules == result.objectives["energy"].value == 1000.0


def test_inference_is_measured_only_where_it_is_asked_for(quick):
    result = run_trial(make_spec(extra_objectives=("latency",)))

    assert result.inference is None
    assert "inference_energy" not in result.objectives


def test_a_final_network_is_measured_on_the_split_that_judges_it(quick):
    assert run_trial(make_spec(is_final=True)).inference.n_images == len(load_dataset("digits").test)


def test_the_passes_change_nothing_else(quick):
    with_inference, without = run_trial(make_spec()), run_trial(make_spec(extra_objectives=()))

    assert with_inference.objectives["error"] == without.objectives["error"]
    assert with_inference.training_loss == without.training_loss


def test_an_unknown_energy_of_an_inference_is_unknown(quick, monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())

    result = run_trial(make_spec())

    objective = result.objectives["inference_energy"]
    assert (result.failure, objective.value, objective.method) == (None, None, "none")


@pytest.mark.slow
def test_a_window_of_inference_has_five_seconds_unless_somebody_says_otherwise(nvml, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(trial, "open_source", lambda _uuid: fake_gpu())

    result = run_trial(make_spec(epochs=3, data_fraction=1.0))

    report = result.inference.report
    assert 5.0 <= report.duration_seconds < 5.5
    assert "short_window" not in report.flags
    n = result.inference.n_passes * result.inference.n_images
    assert result.objectives["inference_energy"].value == pytest.approx(WATTS * report.duration_seconds / n, rel=0.05)
    assert result.energy.joules == pytest.approx(WATTS * result.energy.duration_seconds, rel=0.05)
    assert result.duration_seconds > 5.0 + result.energy.duration_seconds


@pytest.mark.slow
def test_a_limit_of_time_is_kept_while_passes_are_repeated(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())

    result = run_trial(make_spec(time_limit_seconds=3.0))

    assert result.failure.kind is FailureKind.TIME_LIMIT
    assert result.duration_seconds < 4.5
    assert (result.energy.joules, result.inference.report.joules) == (1000.0, 1000.0)
    assert (result.inference.joules_per_image, result.inference.n_passes) == (None, 0)
