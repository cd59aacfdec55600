"""Numbers in words: values with unit, method and quality, so that an estimate is never taken for a measurement."""

from __future__ import annotations

from collections.abc import Iterable

from service.schema import Trial
from worker.schema import Measurement

_TITLES = {
    "error": "error",
    "energy": "energy",
    "emissions": "emissions",
    "deployment_energy": "deployment energy",
}
_SCALES = ((1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def title(objective: str) -> str:
    """An objective's name for people."""
    return _TITLES[objective]


def amount(measurement: Measurement | None) -> str:
    """The value with its unit, such as `0.80 µJ / image`, or `unknown`."""
    if measurement is None or measurement.value is None:
        return "unknown"
    if measurement.unit == "ratio":
        return f"{measurement.value:.4f}"
    scale, prefix = next((pair for pair in _SCALES if abs(measurement.value) >= pair[0]), _SCALES[-1])
    return f"{measurement.value / scale:.3g} {prefix}{measurement.unit}"


def provenance(objective: str, trials: Iterable[Trial]) -> str:
    """How an objective was obtained over trials, such as `estimated, codecarbon`."""
    found = {
        f"{m.quality}, {m.method}"
        for t in trials
        if (m := t.measurement(objective)) is not None and m.value is not None
    }
    return " or ".join(sorted(found)) or "unknown"


def recipe(trial: Trial) -> str:
    """The config's main traits, such as `deepshift-q w4 a4+4 adam`: weight bits, activation bits, optimizer."""
    config = trial.config
    activations = f"{config.get('activation_integer_bits')}+{config.get('activation_fraction_bits')}"
    return f"{config.get('quantizer')} w{config.get('weight_bits')} a{activations} {config.get('optimizer')}"


# Said wherever a person reads an energy.
CAVEAT = (
    "Energy is what this machine spent on training and evaluation, where shifts are simulated by ordinary arithmetic: "
    "it cannot show what shift hardware would save. Deployment energy is an analytic estimate for one image on "
    "45 nm shift-and-add hardware."
)
