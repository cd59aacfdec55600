"""Water, and the making of the device: cited models over energy and device time, never measurements."""

from __future__ import annotations

from worker.energy.carbon import JOULES_PER_KWH
from worker.schema import EnergyReport, Measurement, SiteSpec


def water_litres(joules: float | None, site: SiteSpec) -> float | None:
    """Water evaporated at the site and consumed by power stations, in litres; None where the energy is unknown.

    energy * (site's intensity + PUE * grid's intensity), Li, Yang, Islam and Ren, arXiv 2304.03271.

    Args:
        joules: at the device.
        site: its factors.
    """
    if joules is None:
        return None
    return joules / JOULES_PER_KWH * (site.wue_litres_per_kwh + site.pue * site.grid_water_litres_per_kwh)


def embodied_grams(device_seconds: float | None, site: SiteSpec, *, is_gpu: bool) -> float | None:
    """Part of the emissions of making a device, by its seconds of a whole life, in gCO2eq.

    Luccioni, Viguier and Ligozat, arXiv 2211.02001, section 4.1.

    Args:
        device_seconds: that the whole device was taken for; None is unknown.
        site: its factors.
        is_gpu: a GPU, else a server.
    """
    if device_seconds is None:
        return None
    return device_seconds / site.lifetime_seconds * (site.gpu_embodied_grams if is_gpu else site.host_embodied_grams)


def water_measurement(report: EnergyReport) -> Measurement:
    """The objective `water_litres`."""
    return _estimate(report, report.water_litres, "L")


def embodied_measurement(report: EnergyReport) -> Measurement:
    """The objective `embodied_grams`."""
    return _estimate(report, report.embodied_grams, "gCO2eq")


def _estimate(report: EnergyReport, value: float | None, unit: str) -> Measurement:
    """A model's figure under the method of the energy beneath it, so that methods are never mixed in a ranking."""
    if value is None:
        return Measurement(value=None, unit=unit, method="none", quality="none")
    return Measurement(value=value, unit=unit, method=report.method, quality="estimated")
