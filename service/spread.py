"""How far a figure may be off: the uncertainty of its meter, and its deviation over the seeds of a trial."""

from __future__ import annotations

import math
import statistics

from worker.schema import EnergyReport, TrialResult


def uncertainty(name: str, value: float | None, result: TrialResult) -> float | None:
    """Of an objective's value in its unit, for a coverage factor of 2; None where it is unknown.

    Known of what one meter read in one window: of no sum over trials that went on from each other.
    """
    if name == "inference_energy" and result.inference is not None:
        return result.inference.uncertainty_joules_per_image
    report = result.energy
    if value is None or report is None or result.earlier_legs:
        return None
    if name == "emissions" and report.emissions_grams is not None and math.isclose(report.emissions_grams, value):
        return report.carbon.uncertainty_grams
    if name == "energy" and report.joules is not None and math.isclose(report.joules, value):
        return uncertainty_of(report)
    return None


def uncertainty_of(report: EnergyReport) -> float | None:
    """That of the joules, in J for a coverage factor of 2; None where they are of no GPU's meter."""
    gpu = report.gpu
    return gpu.uncertainty_joules if gpu is not None and gpu.method == report.method else None


def deviation(name: str, result: TrialResult) -> float | None:
    """Sample standard deviation over the seeds of a trial, in the objective's unit; None below two."""
    each = [found.value for seed in result.by_seed if (found := seed.get(name)) is not None and found.value is not None]
    return statistics.stdev(each) if len(each) > 1 else None
