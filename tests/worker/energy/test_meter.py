from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from worker.energy.carbon import CarbonModel
from worker.energy.meter import EnergyMeter
from worker.energy.reading import NoSource, Reading
from worker.schema import Method, Quality


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
