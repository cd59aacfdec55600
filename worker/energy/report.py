"""From a window's reading to its report: everything that is computed, and nothing that is measured."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from worker.energy.carbon import CarbonModel
from worker.energy.footprint import embodied_grams, water_litres
from worker.energy.reading import Reading
from worker.schema import Carbon, EnergyReport, Flag, Method, Quality, SiteSpec

# A model of a busy machine is poor below a second; GPUs set their own, longer limit.
SHORT_WINDOW_SECONDS = 1.0


@dataclass(frozen=True)
class Measured:
    """One closed window as it was measured.

    Attributes:
        method: where the source usually reads, unless the reading says otherwise; likewise `quality`.
        device_seconds: that the device was taken for.
    """

    reading: Reading
    method: Method
    quality: Quality
    device: str
    started_at: datetime
    seconds: float
    device_seconds: float | None


def build_report(measured: Measured, carbon: CarbonModel, site: SiteSpec) -> EnergyReport:
    """The report of one window: totals, emissions, water, and every flag once."""
    reading, joules = measured.reading, measured.reading.joules
    known = joules is not None
    return EnergyReport(
        joules=joules,
        method=(reading.method or measured.method) if known else "none",
        quality=(reading.quality or measured.quality) if known else "none",
        device=measured.device,
        duration_seconds=measured.seconds,
        started_at=measured.started_at,
        host=socket.gethostname(),
        boot_id=_boot_id(),
        gpu=reading.gpu,
        cpu=reading.cpu,
        ram=reading.ram,
        total_measured_joules=_total(measured, lambda quality: quality in ("measured", "integrated")),
        total_with_estimates_joules=_total(measured, lambda _quality: True),
        pue=carbon.pue,
        facility_joules=carbon.facility_joules(joules),
        carbon=describe_carbon(carbon, joules, reading.gpu.uncertainty_joules if reading.gpu else None),
        emissions_grams=carbon.grams(joules),
        water_litres=water_litres(joules, site),
        embodied_grams=embodied_grams(measured.device_seconds, site, is_gpu=reading.gpu is not None),
        device_seconds=measured.device_seconds,
        versions=_versions(),
        flags=_flags(measured, carbon.flags),
    )


def describe_carbon(carbon: CarbonModel, joules: float | None, uncertainty_joules: float | None) -> Carbon:
    """The carbon part of a report."""
    return Carbon(
        grams=carbon.grams(joules),
        uncertainty_grams=carbon.grams(uncertainty_joules),
        grams_per_kwh=carbon.grams_per_kwh,
        source=carbon.source,
        year=carbon.year,
    )


def _total(measured: Measured, counts: Callable[[Quality], bool]) -> float | None:
    """Sum over the parts whose quality counts; None without any."""
    reading = measured.reading
    parts = [(part.share_joules, part.quality) for part in (reading.cpu, reading.ram) if part is not None]
    if reading.gpu is not None:
        parts.append((reading.gpu.gross_joules, reading.gpu.quality))
    if not parts:
        parts.append((reading.joules, reading.quality or measured.quality))
    known = [joules for joules, quality in parts if joules is not None and counts(quality)]
    return sum(known) if known else None


def _flags(measured: Measured, more: Iterable[Flag]) -> tuple[Flag, ...]:
    short: tuple[Flag, ...] = ("short_window",) if measured.seconds < SHORT_WINDOW_SECONDS else ()
    return tuple(dict.fromkeys((*measured.reading.flags, *short, *more)))


@lru_cache(maxsize=1)
def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("nvidia-ml-py", "codecarbon")}
