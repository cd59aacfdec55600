"""One report of several windows on one device: sums of what adds up, and every flag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.energy.carbon import JOULES_PER_KWH
from worker.schema import Carbon, EnergyReport, GpuEnergy, HostEnergy, Method, Quality

_BY_TRUST: tuple[Quality, ...] = ("measured", "integrated", "estimated", "none")


def merge_reports(reports: Sequence[EnergyReport]) -> EnergyReport:
    """The report of all windows together; that of a single one is itself.

    A sum is unknown where a part of it is, except for the two totals, which are of what is known in any report. Where
    windows were read in different ways, the sum is as trustworthy as the worst of them.

    Args:
        reports: one or more, in the order of time, of windows that do not overlap.
    """
    first = reports[0]
    if len(reports) == 1:
        return first
    joules = _sum(r.joules for r in reports)
    method, quality = _worst((r.method, r.quality) for r in reports) if joules is not None else ("none", "none")
    seconds = sum(r.duration_seconds for r in reports)
    each = tuple(r.joules for r in reports if r.joules is not None and r.repeats == 1)
    return first.model_copy(
        update={
            "joules": joules,
            "method": method,
            "quality": quality,
            "duration_seconds": seconds,
            "repeats": sum(r.repeats for r in reports),
            "repeats_joules": each if len(each) == len(reports) else (),
            "gpu": _merge_gpu([r.gpu for r in reports if r.gpu is not None], seconds),
            "cpu": _merge_host([r.cpu for r in reports if r.cpu is not None]),
            "ram": _merge_host([r.ram for r in reports if r.ram is not None]),
            "total_measured_joules": _known(r.total_measured_joules for r in reports),
            "total_with_estimates_joules": _known(r.total_with_estimates_joules for r in reports),
            "facility_joules": _sum(r.facility_joules for r in reports),
            "carbon": _merge_carbon(reports),
            "emissions_grams": _sum(r.emissions_grams for r in reports),
            "water_litres": _sum(r.water_litres for r in reports),
            "embodied_grams": _sum(r.embodied_grams for r in reports),
            "device_seconds": _sum(r.device_seconds for r in reports),
            "flags": tuple(dict.fromkeys(flag for r in reports for flag in r.flags)),
        }
    )


def _merge_gpu(parts: Sequence[GpuEnergy], seconds: float) -> GpuEnergy | None:
    """All windows of a GPU; its state is that at the first begin and the last end."""
    if not parts:
        return None
    first, last = parts[0], parts[-1]
    gross, net = _sum(p.gross_joules for p in parts), _sum(p.net_joules for p in parts)
    method, quality = _worst((p.method, p.quality) for p in parts) if gross is not None else ("none", "none")
    return first.model_copy(
        update={
            "method": method,
            "quality": quality,
            "gross_joules": gross,
            "net_joules": net,
            # An error of the sensor's gain is the same in all windows: such errors add up.
            "uncertainty_joules": _sum(p.uncertainty_joules for p in parts),
            "net_uncertainty_joules": _sum(p.net_uncertainty_joules for p in parts),
            "idle_watts": _mean_idle([p.idle_watts for p in parts], gross, net, seconds),
            "idle_sd_watts": _max(p.idle_sd_watts for p in parts),
            "idle_age_seconds": _max(p.idle_age_seconds for p in parts),
            "mean_watts": gross / seconds if gross is not None and seconds > 0 else None,
            "tick_seconds": _max(p.tick_seconds for p in parts),
            "n_ticks": None if any(p.n_ticks is None for p in parts) else sum(p.n_ticks or 0 for p in parts),
            "sampler_max_gap_seconds": _max(p.sampler_max_gap_seconds for p in parts),
            "power_integral_joules": _sum(p.power_integral_joules for p in parts),
            "exclusive": _all([p.exclusive for p in parts]),
            "temperature_celsius": _ends(first.temperature_celsius, last.temperature_celsius),
            "sm_megahertz": _ends(first.sm_megahertz, last.sm_megahertz),
        }
    )


def _merge_host(parts: Sequence[HostEnergy]) -> HostEnergy | None:
    if not parts:
        return None
    method, quality = _worst((p.method, p.quality) for p in parts)
    share, host = _sum(p.share_joules for p in parts), _sum(p.host_joules for p in parts)
    return HostEnergy(method=method, quality=quality, share_joules=share, host_joules=host)


def _merge_carbon(reports: Sequence[EnergyReport]) -> Carbon:
    """Grams of all windows; the intensity is the mean over their energy, or over the windows where that is unknown."""
    parts = [r.carbon for r in reports]
    grams, facility = _sum(c.grams for c in parts), _sum(r.facility_joules for r in reports)
    intensities = {c.grams_per_kwh for c in parts}
    if len(intensities) == 1:
        (intensity,) = intensities
    elif grams is not None and facility:
        intensity = grams / facility * JOULES_PER_KWH
    else:
        intensity = sum(c.grams_per_kwh for c in parts) / len(parts)
    update = {
        "grams": grams,
        "uncertainty_grams": _sum(c.uncertainty_grams for c in parts),
        "grams_per_kwh": intensity,
        "source": ", ".join(dict.fromkeys(c.source for c in parts)),
        "year": parts[0].year if len({c.year for c in parts}) == 1 else None,
    }
    return parts[0].model_copy(update=update)


def _worst(ways: Iterable[tuple[Method, Quality]]) -> tuple[Method, Quality]:
    return max(ways, key=lambda way: _BY_TRUST.index(way[1]))


def _mean_idle(watts: list[float | None], gross: float | None, net: float | None, seconds: float) -> float | None:
    if len(set(watts)) == 1:
        return watts[0]
    return (gross - net) / seconds if gross is not None and net is not None and seconds > 0 else None


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; unknown where a value is."""
    found = list(values)
    return None if None in found else sum(value for value in found if value is not None)


def _known(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def _max(values: Iterable[float | None]) -> float | None:
    """The largest; unknown where one is."""
    found = list(values)
    return None if None in found else max(value for value in found if value is not None)


def _all(answers: list[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def _ends(
    first: tuple[float | None, float | None] | None, last: tuple[float | None, float | None] | None
) -> tuple[float | None, float | None] | None:
    return None if first is None or last is None else (first[0], last[1])
