from __future__ import annotations

import pytest

from tests.fakes.in_process import monitor_of
from tests.fakes.simulated import SimulatedTime
from worker.energy.gpu import GpuSource
from worker.energy.idle import STALE_SECONDS, IdleKeeper, measure_idle
from worker.energy.monitor import GpuMonitor
from worker.energy.reading import Reading
from worker.energy.uncertainty import gross_uncertainty, net_uncertainty


@pytest.fixture
def monitor(simulated) -> GpuMonitor:
    return monitor_of(simulated, linger_seconds=0.2)


def keeper_of(simulated: SimulatedTime, monitor: GpuMonitor, seconds: float = 0.6) -> IdleKeeper:
    return IdleKeeper(monitor, seconds, simulated.clock, simulated.sleep)


def test_idle_power_is_the_mean_over_parts_with_its_deviation(simulated, monitor):
    begun = simulated.clock()

    baseline = measure_idle(monitor, 1.0, simulated.clock, simulated.sleep)

    assert baseline.watts == pytest.approx(60, rel=0.02)
    assert 0 <= baseline.sd_watts < 1
    assert 1.0 < baseline.measured_at - begun < 3.0


def test_idle_power_that_cannot_be_read_is_unknown(nvml, simulated):
    nvml.setenv("FNVML_E_RC", "3")
    nvml.setenv("FNVML_FV_RC", "3")
    nvml.setenv("FNVML_P_RC", "3")

    assert measure_idle(monitor_of(simulated), 0.0, simulated.clock, simulated.sleep) is None


def test_idle_power_is_measured_once_and_again_when_stale(simulated, monitor):
    keeper = keeper_of(simulated, monitor)

    first = keeper.refresh(is_exclusive=True)
    simulated.sleep(STALE_SECONDS - 0.1)
    same = keeper.refresh(is_exclusive=True)
    simulated.sleep(1)
    assert keeper.is_stale()
    other = keeper.refresh(is_exclusive=True)

    assert same is first
    assert STALE_SECONDS < other.measured_at - first.measured_at < STALE_SECONDS + 5
    assert not keeper.is_stale()


@pytest.mark.parametrize("why", ["others are there", "a window is open", "no time for it"])
def test_idle_power_is_not_measured_where_the_gpu_is_not_idle(simulated, monitor, why):
    keeper = keeper_of(simulated, monitor, 0.0 if why == "no time for it" else 0.1)
    window = monitor.open_window() if why == "a window is open" else None

    assert keeper.refresh(is_exclusive=why != "others are there") is None

    if window is not None:
        monitor.close_window(window)


def read(simulated: SimulatedTime, source: GpuSource) -> Reading:
    source.begin()
    simulated.sleep(0.3)
    return source.end()


def test_the_energy_above_idle_is_given_with_its_uncertainty_and_the_age_of_idle(simulated, monitor):
    reading = read(simulated, GpuSource(monitor, keeper_of(simulated, monitor)))

    gpu, seconds = reading.gpu, reading.joules / reading.gpu.mean_watts
    assert gpu.idle_watts == pytest.approx(60, rel=0.02)
    assert gpu.net_joules == pytest.approx(gpu.gross_joules - gpu.idle_watts * seconds)
    assert gpu.net_uncertainty_joules >= gpu.uncertainty_joules > 0
    assert 0 <= gpu.idle_age_seconds < 5
    assert "stale_idle" not in reading.flags


def test_a_window_whose_idle_power_is_missing_or_old_says_so(simulated, monitor):
    reading = read(simulated, GpuSource(monitor, keeper_of(simulated, monitor, 0.0)))

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
