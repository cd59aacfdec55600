from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

from worker.energy.carbon import CarbonModel
from worker.energy.meter import EnergyMeter, measure_inference
from worker.energy.processes import CpuSeconds
from worker.energy.reading import NoSource, Reading
from worker.schema import EnergyReport, GpuEnergy, HostEnergy, Method, Quality


@dataclass
class FakeSource:
    """Gives one prepared reading and writes down when it was asked."""

    reading: Reading
    calls: list[str] = field(default_factory=list)
    method: Method = "nvml_energy_delta"
    quality: Quality = "measured"

    def begin(self) -> None:
        self.calls.append("begin")

    def end(self) -> Reading:
        self.calls.append("end")
        return self.reading


def meter_of(source, *, seconds: float = 10.0, carbon: CarbonModel | None = None) -> EnergyMeter:
    times = iter([100.0, 100.0 + seconds] * 2)
    return EnergyMeter(source, "Fake GPU", lambda: None, carbon or CarbonModel(), lambda: next(times))


def test_the_device_is_waited_for_before_both_edges():
    source = FakeSource(Reading(5.0))
    meter = EnergyMeter(source, "Fake GPU", lambda: source.calls.append("synchronize"))

    with meter:
        source.calls.append("work")

    assert source.calls == ["synchronize", "begin", "work", "synchronize", "end"]


def test_the_report_says_what_was_measured_where_and_how():
    meter = meter_of(FakeSource(Reading(7200.0)), carbon=CarbonModel(400.0, "a test", pue=1.5))

    with meter:
        pass

    report = meter.report()
    assert (report.joules, report.method, report.quality) == (7200.0, "nvml_energy_delta", "measured")
    assert (report.device, report.duration_seconds, report.flags) == ("Fake GPU", 10.0, ())
    assert (report.pue, report.carbon_grams_per_kwh, report.carbon_source) == (1.5, 400.0, "a test")
    assert report.emissions_grams == pytest.approx(7200.0 * 1.5 / 3.6e6 * 400.0)


@pytest.mark.parametrize(
    "source", [FakeSource(Reading(None, ("gpu_lost",))), NoSource()], ids=["failed window", "no source"]
)
def test_unknown_energy_is_none_everywhere(source):
    meter = meter_of(source)

    with meter:
        pass

    report = meter.report()
    assert (report.joules, report.emissions_grams, report.method, report.quality) == (None, None, "none", "none")
    assert report.flags in (("gpu_lost",), ("no_counter",))


@pytest.mark.parametrize(("seconds", "flags"), [(0.99, ("short_window",)), (1.0, ()), (5.0, ())])
def test_a_window_below_one_second_is_flagged(seconds, flags):
    meter = meter_of(FakeSource(Reading(5.0)), seconds=seconds)

    with meter:
        pass

    assert meter.report().flags == flags


def test_a_short_window_is_flagged_once_beside_the_flags_of_the_source():
    meter = meter_of(FakeSource(Reading(None, ("short_window", "degraded"))), seconds=0.1)

    with meter:
        pass

    assert meter.report().flags == ("short_window", "degraded")


def test_a_report_before_any_window_is_refused():
    with pytest.raises(RuntimeError, match="no window has been measured yet"):
        meter_of(FakeSource(Reading(5.0))).report()


def test_the_report_is_of_the_window_closed_last():
    source = FakeSource(Reading(5.0))
    meter = meter_of(source)
    with meter:
        pass
    source.reading = Reading(9.0)

    with meter:
        pass

    assert meter.report().joules == 9.0


def test_an_error_of_the_work_passes_through_and_closes_the_window():
    meter = meter_of(FakeSource(Reading(5.0)))

    with pytest.raises(ZeroDivisionError), meter:
        raise ZeroDivisionError

    assert meter.report().joules == 5.0


def test_a_device_that_breaks_still_leaves_what_was_spent():
    source = FakeSource(Reading(5.0))
    meter = meter_of(source)

    with pytest.raises(RuntimeError, match="device-side assert"), meter:
        meter.synchronize = lambda: (_ for _ in ()).throw(RuntimeError("device-side assert"))

    assert meter.report().joules == 5.0


# The report


def test_a_report_of_a_gpu_and_its_host_by_hand():
    reading = Reading(
        3600.0,
        ("degraded",),
        "nvml_energy_delta",
        "measured",
        gpu=GpuEnergy(uuid="GPU-a", method="nvml_energy_delta", quality="measured", gross_joules=3600.0).model_copy(
            update={"uncertainty_joules": 360.0}
        ),
        cpu=HostEnergy(method="codecarbon", quality="estimated", share_joules=200.0),
        ram=HostEnergy(method="codecarbon", quality="estimated", share_joules=100.0),
    )
    meter = meter_of(FakeSource(reading), carbon=CarbonModel(500.0, "a test", pue=1.2))

    with meter:
        pass

    report = meter.report()
    assert (report.total_measured_joules, report.total_with_estimates_joules) == (3600.0, 3900.0)
    # 3600 J * 1.2 = 4320 J = 0.0012 kWh, of 500 g.
    assert (report.facility_joules, report.emissions_grams) == (pytest.approx(4320.0), pytest.approx(0.6))
    assert (report.carbon.grams, report.carbon.uncertainty_grams) == (report.emissions_grams, pytest.approx(0.06))
    # 0.001 kWh: 0.36 L at the site and 3.14 L at power stations.
    assert report.water_litres == pytest.approx(0.0035)
    # Ten seconds of 150 kg over six years at 85 % usage.
    assert report.embodied_grams == pytest.approx(10 / (0.85 * 6 * 365.25 * 86400) * 150e3)
    assert report.flags == ("degraded",)
    assert EnergyReport.model_validate_json(report.model_dump_json()) == report


def test_on_a_processor_the_device_is_taken_for_the_seconds_of_its_cores():
    seconds = iter([CpuSeconds(1.0, 10.0), CpuSeconds(1.0 + 3.0 * (os.cpu_count() or 1), 20.0)])
    meter = meter_of(FakeSource(Reading(5.0)))
    meter.cpu = lambda: next(seconds)

    with meter:
        pass

    report = meter.report()
    assert report.device_seconds == pytest.approx(3.0)
    assert report.embodied_grams == pytest.approx(3 / (0.85 * 6 * 365.25 * 86400) * 2500e3)


def test_a_fallback_of_the_carbon_intensity_is_flagged_in_the_report():
    meter = meter_of(FakeSource(Reading(5.0)), carbon=CarbonModel(flags=("ci_fallback",)))

    with meter:
        pass

    assert meter.report().flags == ("ci_fallback",)


# Inference


def ticking_meter(reading: Reading, seconds_a_pass: float = 1.5):
    """A meter whose clock a pass moves on, and that pass."""
    now = [0.0]

    def one_pass() -> None:
        now[0] += seconds_a_pass

    return EnergyMeter(FakeSource(reading), "Fake GPU", lambda: None, clock=lambda: now[0]), one_pass


def test_a_pass_is_repeated_until_the_window_has_five_seconds():
    meter, one_pass = ticking_meter(Reading(600.0))

    inference = measure_inference(meter, one_pass, n_images=100)

    assert inference.n_passes == inference.report.repeats == 4
    assert inference.report.duration_seconds == 6.0
    assert inference.joules_per_image == pytest.approx(600.0 / 400)
    assert inference.uncertainty_joules_per_image is None
    measurement = inference.measurement
    assert (measurement.value, measurement.unit) == (inference.joules_per_image, "J / image")
    assert (measurement.method, measurement.quality) == ("nvml_energy_delta", "measured")


def test_a_long_pass_is_done_once_and_its_uncertainty_is_per_image_too():
    gpu = GpuEnergy(uuid="GPU-a", gross_joules=600.0, uncertainty_joules=60.0)
    meter, one_pass = ticking_meter(Reading(600.0, gpu=gpu), seconds_a_pass=30.0)

    inference = measure_inference(meter, one_pass, n_images=100)

    assert (inference.n_passes, inference.uncertainty_joules_per_image) == (1, pytest.approx(0.6))


def test_an_unknown_energy_per_image_is_unknown():
    meter, one_pass = ticking_meter(Reading(None, ("gpu_lost",)))

    measurement = measure_inference(meter, one_pass, n_images=100).measurement

    assert (measurement.value, measurement.method, measurement.quality) == (None, "none", "none")


def test_energy_per_image_needs_images():
    meter, one_pass = ticking_meter(Reading(600.0))

    with pytest.raises(ValueError, match="n_images must be 1 or more, got 0"):
        measure_inference(meter, one_pass, n_images=0)
