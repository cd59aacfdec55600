"""Energy per image of real passes against a fake GPU whose power is known at every instant."""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tests.fakes.in_process import monitor_of, square_wave, true_joules
from tests.fakes.nvml import FIRST_GPU
from worker import entry, trial
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

# What the fake draws unless it is told otherwise, and that between two changes of its counter.
WATTS, TICK_JOULES = 60.0, 6.0


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


@pytest.mark.slow
def test_the_energy_of_real_passes_is_that_of_the_gpu_between_them(nvml):
    data = load_dataset("digits")
    model = build_network("resnet8", data.image_shape, data.n_classes)
    times: list[tuple[float, float]] = []

    def one_pass() -> None:
        started = time.time()
        evaluate(model, data.validation, 100)
        times.append((started, time.time()))

    inference = measure_inference_energy(one_pass, len(data.validation), meter_of_fake_gpu(), at_least_seconds=3.0)
    after = time.time()

    # The first pass is there to warm up.
    warm_up, *measured = times
    assert inference.n_passes == inference.report.repeats == len(measured) > 1
    joules = inference.joules_per_image * len(measured) * len(data.validation)
    # However long a busy machine pauses, an edge is wrong by no more than the power of one tick.
    assert WATTS * (measured[-1][1] - measured[0][0]) - 2 * TICK_JOULES <= joules
    assert joules <= WATTS * (after - warm_up[1]) + 2 * TICK_JOULES
    assert inference.measurement.quality == "measured"
    assert inference.uncertainty_joules_per_image < 0.1 * inference.joules_per_image


@pytest.mark.parametrize("phase", [0.0, 0.65, 1.3])
def test_passes_of_a_known_length_have_a_known_energy(nvml, simulated, phase):
    square_wave(nvml)
    simulated.sleep(phase)
    source = GpuAndHost(FIRST_GPU, GpuSource(monitor_of(simulated)), NoSource())
    meter = EnergyMeter(source, "Fake GPU", lambda: None, clock=simulated.clock)
    begun: list[float] = []

    def one_pass() -> None:
        begun.append(simulated.clock())
        simulated.sleep(0.05)

    inference = measure_inference_energy(one_pass, 50, meter, at_least_seconds=3.0)

    assert inference.n_passes == len(begun) - 1 == pytest.approx(3.0 / 0.05, abs=1)
    truth = true_joules(begun[1], begun[-1] + 0.05)
    assert inference.joules_per_image == pytest.approx(truth / (50 * inference.n_passes), rel=0.05)
    assert (inference.measurement.method, inference.measurement.quality) == ("nvml_energy_timeline", "measured")


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
    assert report.duration_seconds >= 5.0
    assert "short_window" not in report.flags
    n = result.inference.n_passes * result.inference.n_images
    joules, seconds = result.objectives["inference_energy"].value * n, report.duration_seconds
    assert joules == pytest.approx(WATTS * seconds, abs=2 * TICK_JOULES)
    assert result.energy.joules == pytest.approx(WATTS * result.energy.duration_seconds, abs=2 * TICK_JOULES)
    assert result.duration_seconds > 5.0 + result.energy.duration_seconds


def test_a_limit_of_time_is_kept_while_passes_are_repeated(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())
    passes: list[object] = []

    def counted(one_pass, *arguments):
        return measure_inference_energy(lambda: passes.append(one_pass()), *arguments)

    monkeypatch.setattr(trial, "measure_inference_energy", counted)
    # The limit passes with the third pass.
    monkeypatch.setattr(entry, "time", SimpleNamespace(monotonic=lambda: 4.0 * (len(passes) > 2)))

    result = run_trial(make_spec(time_limit_seconds=3.0))

    assert result.failure.kind is FailureKind.TIME_LIMIT
    assert (len(passes), result.duration_seconds) == (3, 4.0)
    assert (result.energy.joules, result.inference.report.joules) == (1000.0, 1000.0)
    assert (result.inference.joules_per_image, result.inference.n_passes) == (None, 0)
