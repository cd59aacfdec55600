"""What no fake can show: the counter, the tick and the power of a real GPU under a real load."""

from __future__ import annotations

import time

import pytest
import torch

from worker.energy.devices import gpu_uuid, synchronize
from worker.energy.gpu import GpuSource
from worker.energy.idle import measure_idle
from worker.energy.meter import EnergyMeter
from worker.energy.monitor import GpuMonitor
from worker.energy.nvml import open_gpu

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)


@pytest.fixture
def monitor() -> GpuMonitor:
    torch.zeros(1, device=GPU)
    return GpuMonitor(lambda: open_gpu(gpu_uuid(GPU)), linger_seconds=1.0)


def work(seconds: float) -> None:
    matrix = torch.randn(4096, 4096, device=GPU)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(20):
            matrix = (matrix @ matrix).clamp(-1, 1)
        synchronize(GPU)


def test_counter_and_integrated_power_agree_over_five_seconds_of_work(monitor, record_property):
    meter = EnergyMeter(GpuSource(monitor), "GPU", lambda: synchronize(GPU))
    work(2.0)

    with meter:
        work(5.5)

    report = meter.report()
    record_property("gpu", report.gpu.model_dump_json())
    assert (report.method, report.quality) == ("nvml_energy_timeline", "measured")
    assert "source_disagreement" not in report.flags
    assert "degraded" not in report.flags
    assert report.gpu.power_integral_joules == pytest.approx(report.joules, rel=0.1)


def test_the_tick_of_the_counter_is_between_ten_milliseconds_and_a_quarter_second(monitor, record_property):
    monitor.prepare()
    time.sleep(1.0)
    window = monitor.open_window()
    time.sleep(1.0)
    reading = monitor.close_window(window)

    record_property("tick_seconds", reading.tick_seconds)
    assert 0.005 < reading.tick_seconds < 0.25


def test_an_idle_gpu_draws_less_than_a_busy_one(monitor, record_property):
    idle = measure_idle(monitor, seconds=5.0)
    window = monitor.open_window()
    work(3.0)
    busy = monitor.close_window(window)

    record_property("idle_watts", idle.watts)
    record_property("busy_watts", busy.joules / busy.seconds)
    assert 0 < idle.watts < busy.joules / busy.seconds
