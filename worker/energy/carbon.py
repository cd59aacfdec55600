"""Grams of CO2 equivalent from joules."""

from __future__ import annotations

from dataclasses import dataclass

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class CarbonModel:
    """What one joule at the device means for the climate.

    Attributes:
        grams_per_kwh: carbon intensity of the electricity.
        source: where that figure comes from.
        pue: power usage effectiveness of the site, at least 1; applied here and nowhere else.
    """

    grams_per_kwh: float = 475.0
    source: str = "world average, IEA 2019"
    pue: float = 1.0

    def grams(self, joules: float | None) -> float | None:
        """Emissions of `joules` at the device, in gCO2eq; None where the energy is unknown."""
        if joules is None:
            return None
        return joules * self.pue / JOULES_PER_KWH * self.grams_per_kwh
