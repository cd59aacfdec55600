"""Water, and the making of the device: cited models over energy and device time, never measurements."""

from __future__ import annotations

from worker.energy.carbon import JOULES_PER_KWH
from worker.schema import SiteSpec


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
