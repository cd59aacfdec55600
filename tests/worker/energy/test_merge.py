from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worker.energy.merge import merge_reports
from worker.schema import Carbon, EnergyReport, GpuEnergy, HostEnergy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def gpu(joules: float | None, **changes) -> GpuEnergy:
    fields = {
        "uuid": "GPU-a",
        "method": "nvml_energy_timeline",
        "quality": "measured",
        "gross_joules": joules,
        "uncertainty_joules": 1.0,
        "net_joules": None if joules is None else joules - 50.0,
        "idle_watts": 5.0,
        "n_ticks": 100,
        "tick_seconds": 0.1,
        "exclusive": True,
        "temperature_celsius": (40.0, 50.0),
    }
    return GpuEnergy(**fields | changes)


def report(joules: float | None = 100.0, **changes) -> EnergyReport:
    known = joules is not None
    fields = {
        "joules": joules,
        "method": "nvml_energy_timeline" if known else "none",
        "quality": "measured" if known else "none",
        "device": "Fake GPU",
        "duration_seconds": 10.0,
        "started_at": NOW,
        "host": "n1",
        "gpu": gpu(joules),
        "cpu": HostEnergy(method="codecarbon", quality="estimated", share_joules=20.0),
        "total_measured_joules": joules,
        "total_with_estimates_joules": 120.0 if known else 20.0,
        "pue": 1.5,
        "facility_joules": None if joules is None else 1.5 * joules,
        "carbon": Carbon(grams=2.0 if known else None, grams_per_kwh=400.0, source="a test", year=2023),
        "emissions_grams": 2.0 if known else None,
        "water_litres": 3.0 if known else None,
        "embodied_grams": 4.0,
        "device_seconds": 10.0,
    }
    return EnergyReport(**fields | changes)


def test_a_single_report_is_itself():
    assert merge_reports([report()]) == report()


def test_what_adds_up_is_added_up():
    merged = merge_reports([report(100.0), report(200.0), report(300.0)])

    assert (merged.joules, merged.facility_joules, merged.duration_seconds) == (600.0, 900.0, 30.0)
    assert (merged.emissions_grams, merged.carbon.grams, merged.water_litres) == (6.0, 6.0, 9.0)
    assert (merged.embodied_grams, merged.device_seconds) == (12.0, 30.0)
    assert (merged.total_measured_joules, merged.total_with_estimates_joules) == (600.0, 360.0)
    assert (merged.repeats, merged.repeats_joules) == (3, (100.0, 200.0, 300.0))
    assert (merged.cpu.share_joules, merged.cpu.host_joules, merged.ram) == (60.0, None, None)
    assert (merged.method, merged.quality, merged.pue, merged.started_at) == (
        "nvml_energy_timeline",
        "measured",
        1.5,
        NOW,
    )


def test_the_state_of_a_gpu_is_that_at_the_first_begin_and_the_last_end():
    first, last = gpu(100.0), gpu(300.0, temperature_celsius=(60.0, 70.0), tick_seconds=0.2)

    merged = merge_reports([report(100.0, gpu=first), report(300.0, gpu=last)]).gpu

    assert (merged.gross_joules, merged.net_joules, merged.uncertainty_joules) == (400.0, 300.0, 2.0)
    assert (merged.mean_watts, merged.idle_watts, merged.n_ticks, merged.tick_seconds) == (20.0, 5.0, 200, 0.2)
    assert (merged.temperature_celsius, merged.sm_megahertz, merged.exclusive) == ((40.0, 70.0), None, True)


def test_idle_power_is_the_mean_that_the_net_energy_rests_on():
    first, last = gpu(100.0, net_joules=50.0, idle_watts=5.0), gpu(100.0, net_joules=10.0, idle_watts=9.0)

    assert merge_reports([report(gpu=first), report(gpu=last)]).gpu.idle_watts == pytest.approx(7.0)


@pytest.mark.parametrize(("second", "both"), [(True, True), (False, False), (None, None)])
def test_a_gpu_was_ours_alone_only_if_it_was_so_in_every_window(second, both):
    parts = [report(gpu=gpu(1.0)), report(gpu=gpu(1.0, exclusive=second))]

    assert merge_reports(parts).gpu.exclusive is both


def test_a_sum_with_an_unknown_part_is_unknown_and_totals_are_of_what_is_known():
    merged = merge_reports([report(100.0), report(None)])

    assert (merged.joules, merged.method, merged.quality) == (None, "none", "none")
    assert (merged.emissions_grams, merged.carbon.grams, merged.facility_joules) == (None, None, None)
    assert (merged.total_measured_joules, merged.total_with_estimates_joules) == (100.0, 140.0)
    assert (merged.repeats, merged.repeats_joules, merged.gpu.gross_joules) == (2, (), None)
    assert (merged.duration_seconds, merged.embodied_grams) == (20.0, 8.0)


def test_every_flag_is_there_once():
    parts = [report(flags=("short_window",)), report(flags=("degraded", "short_window"))]

    assert merge_reports(parts).flags == ("short_window", "degraded")


def test_a_sum_is_as_trustworthy_as_its_worst_part():
    merged = merge_reports([report(), report(method="nvml_power_integral", quality="integrated")])

    assert (merged.joules, merged.method, merged.quality) == (200.0, "nvml_power_integral", "integrated")


def test_an_intensity_that_changed_is_the_mean_over_the_energy():
    first = report(100.0, carbon=Carbon(grams=300.0, grams_per_kwh=200.0, source="now", year=2023))
    later = report(300.0, carbon=Carbon(grams=100.0, grams_per_kwh=500.0, source="a table"), emissions_grams=100.0)

    carbon = merge_reports([first, later]).carbon

    # 400 g over 1.5 * 400 J.
    assert carbon.grams_per_kwh == pytest.approx(400.0 / 600.0 * 3.6e6)
    assert (carbon.grams, carbon.source, carbon.year) == (400.0, "now, a table", None)


def test_windows_of_many_passes_have_no_energy_of_one():
    merged = merge_reports([report(repeats=5), report(repeats=7)])

    assert (merged.repeats, merged.repeats_joules) == (12, ())


def test_a_merged_report_survives_json():
    merged = merge_reports([report(100.0), report(200.0)])

    assert EnergyReport.model_validate_json(merged.model_dump_json()) == merged
