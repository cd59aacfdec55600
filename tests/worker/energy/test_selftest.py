from __future__ import annotations

from functools import partial

import pytest

from tests.fakes.nvml import FIRST_GPU, SECOND_GPU
from worker.energy import selftest
from worker.energy.monitor import GpuMonitor
from worker.energy.reading import NoSource, Reading
from worker.energy.selftest import self_test
from worker.schema import HostEnergy, SelfTestReport, SiteSpec


class Host(NoSource):
    """A host that spends 20 J on its processor, and whose memory is unknown."""

    def end(self) -> Reading:
        return Reading(20.0, cpu=HostEnergy(method="rapl", quality="measured", share_joules=20.0))


@pytest.fixture(autouse=True)
def host(monkeypatch):
    monkeypatch.setattr(selftest, "open_host_source", Host)


def test_every_gpu_is_read_over_one_second(nvml, simulated):
    nvml.setenv("CUDA_VISIBLE_DEVICES", SECOND_GPU)
    times = {"clock": simulated.clock, "sleep": simulated.sleep, "poller": simulated.poller}
    nvml.setattr(selftest, "GpuMonitor", partial(GpuMonitor, **times))

    report = self_test(sleep=simulated.sleep)

    first, second = report.gpus
    assert (first.uuid, second.uuid) == (FIRST_GPU, SECOND_GPU)
    assert (first.visible, second.visible) == (False, True)
    assert (first.method, first.quality, first.flags) == ("nvml_energy_timeline", "measured", ())
    assert (first.mean_watts, second.mean_watts) == (pytest.approx(60, rel=0.05), pytest.approx(120, rel=0.05))
    assert first.tick_seconds == pytest.approx(0.1, rel=0.01)
    assert 0 < first.uncertainty_watts < 6
    assert SelfTestReport.model_validate_json(report.model_dump_json()) == report


def test_a_gpu_that_tells_nothing_is_listed_with_the_reason(nvml):
    nvml.setenv("FNVML_COUNT", "1")
    nvml.setenv("FNVML_MIG", "1")

    [gpu] = self_test(sleep=lambda _seconds: None).gpus

    assert (gpu.mean_watts, gpu.method, gpu.quality) == (None, "none", "none")
    assert "mig" in gpu.flags


def test_without_a_driver_the_host_and_the_carbon_intensity_are_left(nvml):
    nvml.setenv("FNVML_INIT_RC", "9")

    report = self_test(SiteSpec(carbon_grams_per_kwh=7.0), sleep=lambda _seconds: None)

    assert report.gpus == ()
    assert (report.cpu.method, report.cpu.quality, report.cpu.mean_watts) == ("rapl", "measured", 20.0)
    assert (report.ram.method, report.ram.mean_watts) == ("none", None)
    assert (report.carbon.grams_per_kwh, report.carbon.source) == (7.0, "given by the study")
    assert report.device == "CPU and memory"
