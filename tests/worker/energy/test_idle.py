from __future__ import annotations

import time

import pytest

from tests.fakes.nvml import FIRST_GPU
from worker.energy.gpu import GpuSource
from worker.energy.idle import STALE_SECONDS, IdleKeeper, measure_idle
from worker.energy.monitor import GpuMonitor
from worker.energy.nvml import open_gpu
from worker.energy.reading import Reading
from worker.energy.uncertainty import gross_uncertainty, net_uncertainty


@pytest.fixture
def monitor(nvml) -> GpuMonitor:
    return GpuMonitor(lambda: open_gpu(FIRST_GPU), linger_seconds=0.2)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.slow
def test_idle_power_is_the_mean_over_parts_with_its_deviation(monitor):
    baseline = measure_idle(monitor, seconds=1.0)

    assert baseline.watts == pytest.approx(60, rel=0.1)
    assert 0 <= baseline.sd_watts < 10


def test_idle_power_that_cannot_be_read_is_unknown(nvml):
    nvml.setenv("FNVML_E_RC", "3")
    nvml.setenv("FNVML_FV_RC", "3")
    nvml.setenv("FNVML_P_RC", "3")

    assert measure_idle(GpuMonitor(lambda: open_gpu(FIRST_GPU), linger_seconds=0), seconds=0.0) is None


@pytest.mark.slow
def test_idle_power_is_measured_once_and_again_when_stale(monitor):
    clock = Clock()
    keeper = IdleKeeper(monitor, seconds=0.6, clock=clock)

    first = keeper.refresh(is_exclusive=True)
    clock.now += STALE_SECONDS
    same = keeper.refresh(is_exclusive=True)
    clock.now += 1
    assert keeper.is_stale()
    other = keeper.refresh(is_exclusive=True)

    assert same is first
    assert (first.measured_at, other.measured_at) == (1000.0, 1000.0 + STALE_SECONDS + 1)


@pytest.mark.parametrize("why", ["others are there", "a window is open", "no time for it"])
def test_idle_power_is_not_measured_where_the_gpu_is_not_idle(monitor, why):
    keeper = IdleKeeper(monitor, seconds=0 if why == "no time for it" else 0.1)
    window = monitor.open_window() if why == "a window is open" else None

    assert keeper.refresh(is_exclusive=why != "others are there") is None

    if window is not None:
        monitor.close_window(window)


def read(source: GpuSource, seconds: float = 0.3) -> Reading:
    source.begin()
    time.sleep(seconds)
    return source.end()


def test_the_energy_above_idle_is_given_with_its_uncertainty_and_the_age_of_idle(monitor):
    reading = read(GpuSource(monitor, IdleKeeper(monitor, seconds=0.6)))

    gpu, seconds = reading.gpu, reading.joules / reading.gpu.mean_watts
    assert gpu.idle_watts == pytest.approx(60, rel=0.1)
    assert gpu.net_joules == pytest.approx(gpu.gross_joules - gpu.idle_watts * seconds)
    assert gpu.net_uncertainty_joules >= gpu.uncertainty_joules > 0
    assert 0 <= gpu.idle_age_seconds < 5
    assert "stale_idle" not in reading.flags


def test_a_window_whose_idle_power_is_missing_or_old_says_so(monitor):
    reading = read(GpuSource(monitor, IdleKeeper(monitor, seconds=0)))

    assert reading.gpu.net_joules is None
    assert "stale_idle" in reading.flags


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # 1000 J at 100 W, tick 0.1 s: gain 28.87 J; quantisation 0.1 * 10 J and 0.41 * 10 J; twice the root of squares.
        ("nvml_energy_timeline", 57.77),
        ("nvml_energy_delta", 58.31),
        ("nvml_power_integral", 58.31),
    ],
)
def test_the_uncertainty_by_hand(method, expected):
    assert gross_uncertainty(method, 1000.0, 10.0, 0.1) == pytest.approx(expected, abs=0.01)


def test_the_uncertainty_of_idle_adds_in_squares():
    assert net_uncertainty(30.0, idle_sd_watts=2.0, seconds=10.0) == pytest.approx(50.0)
