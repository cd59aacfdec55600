"""How well a GPU's joules are known: intervals for a coverage factor of 2, in joules.

Standard uncertainties, combined as the root of their squares (JCGM 100:2008, GUM):
  quantisation  the edges of the window fall between two ticks of a counter, 0.41 * power * tick for a plain difference
                (two uniform edges: tick / sqrt(6)) and a quarter of that on the timeline; of integrated power likewise
  gain          5 % at worst, rectangular: 0.05 / sqrt(3) (Yang, Adamek and Armour, arXiv 2312.02741)
  idle          deviation of the idle power times the duration, in the net energy only
"""

from __future__ import annotations

from math import hypot, sqrt

from worker.schema import Method

COVERAGE = 2.0
GAIN = 0.05 / sqrt(3)
_QUANTISATION: dict[Method, float] = {
    "nvml_energy_timeline": 0.1,
    "nvml_energy_delta": 0.41,
    "nvml_power_integral": 0.41,
}


def gross_uncertainty(method: Method, joules: float, seconds: float, tick_seconds: float | None) -> float:
    """Interval of a window's energy; where the tick is unknown it is taken for as long as the window, 0.1 s at most."""
    tick = min(seconds, 0.1) if tick_seconds is None else tick_seconds
    watts = joules / seconds if seconds > 0 else 0.0
    return COVERAGE * hypot(_QUANTISATION.get(method, 0.41) * watts * tick, GAIN * joules)


def net_uncertainty(gross: float, idle_sd_watts: float, seconds: float) -> float:
    """Interval of the energy above idle.

    Args:
        gross: interval of the whole energy, with the same coverage.
        idle_sd_watts: deviation of the idle power.
        seconds: that the window took.
    """
    return hypot(gross, COVERAGE * idle_sd_watts * seconds)
