"""Numbers in words: values with unit, method and quality, so that an estimate is never taken for a measurement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from service.compared import DEFAULT_TRIAL_ID, RECOMMENDED_TRIAL_ID
from service.ranking import comparable, dominators, front, ties, volume
from service.schema import StudySpec, Trial, TrialState
from worker.schema import Measurement, Recipe

_TITLES = {
    "error": "validation error",
    "energy": "energy",
    "emissions": "emissions",
    "deployment_energy": "deployment energy",
    "inference_energy": "energy per inference",
    "model_bytes": "model size",
    "peak_memory_bytes": "peak memory",
}
_BASELINES = {
    DEFAULT_TRIAL_ID: "the default (DeepShift-PS, 5 bits, 16+16)",
    RECOMMENDED_TRIAL_ID: "the default trained as DeepShift advises (RAdam, 0.01)",
}
_ON_SHIFT_HARDWARE = ["error", "deployment_energy"]
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def title(objective: str) -> str:
    """An objective's name for people."""
    return _TITLES.get(objective, objective.replace("_", " "))


def amount(measurement: Measurement | None) -> str:
    """The value with its unit, such as `0.80 µJ / image`, or `unknown`."""
    if measurement is None or measurement.value is None:
        return "unknown"
    if measurement.unit == "ratio":
        return f"{measurement.value:.4f}"
    if not measurement.unit:
        # A prefix would be taken for a unit.
        return f"{measurement.value:.4g}"
    # Rounded first, so that 999.7 becomes 1 k and not 1000.
    value = float(f"{measurement.value:.3g}")
    scale, prefix = next((pair for pair in _SCALES if abs(value) >= pair[0]), _SCALES[-1])
    digits = f"{value / scale:.3g}"
    return f"{digits if 'e' not in digits else f'{value / scale:,.0f}'} {prefix}{measurement.unit}"


def baseline(trial: Trial) -> str:
    """What a trial is that the search is compared with."""
    return "the default" if trial.is_of_task else _BASELINES.get(trial.trial_id, trial.trial_id)


def tally(trials: list[Trial]) -> str:
    """How many trials there are, in which states."""
    if not trials:
        return "No trial has begun yet."
    n_full = sum(t.is_full and t.state is TrialState.COMPLETED for t in trials)
    states = ", ".join(f"{n} {state}" for state, n in Counter(str(trial.state) for trial in trials).items())
    many = "trial" if len(trials) == 1 else "trials"
    return f"{len(trials)} {many} so far, {n_full} of them completed at full fidelity: {states}."


def found(spec: StudySpec, trials: list[Trial]) -> str:
    """How many are on the front, and what they are better than."""
    best = front(spec, trials)
    if not best:
        return f"There is no front yet: no {things(spec, 1)} that can be compared has completed at full fidelity."
    return f"On the front: {len(best)} {things(spec, len(best))}{ties(spec, best)}; {beaten(spec, trials)}."


def reached(spec: StudySpec, trials: list[Trial]) -> str:
    """The hypervolume with its unit and its reference point, or nothing without a front."""
    grown = volume(spec, trials)
    if grown is None:
        return ""
    return (
        f"Hypervolume {grown.hypervolume:.4g} {volume_unit(spec, trials)} from the reference point "
        f"{reference(spec, trials, grown.reference_point)}."
    )


def reference(spec: StudySpec, trials: list[Trial], point: dict[str, float]) -> str:
    """A reference point, such as `validation error 0.4300, energy 985 J`, in the units that `trials` have."""
    found = comparable(spec, trials)[0].result
    assert found is not None
    known = {name: found.objectives[name].model_copy(update={"value": value}) for name, value in point.items()}
    return ", ".join(f"{title(name)} {amount(measured)}" for name, measured in known.items())


def volume_unit(spec: StudySpec, trials: list[Trial]) -> str:
    """The product of the units of the objectives, such as `ratio × J`; one without a unit is named."""
    found = comparable(spec, trials)[0].result
    assert found is not None
    return " × ".join(found.objectives[name].unit or title(name) for name in spec.objectives)


def with_integers(trials: list[Trial]) -> str:
    """What the same network would take with 8-bit multiplications, or nothing where no trial has told."""
    known = int8_baseline(trials)
    if known is None:
        return ""
    return f"The same network with 8-bit multiplications in place of shifts is estimated at {amount(known)} (analytic)."


def beaten(spec: StudySpec, trials: list[Trial]) -> str:
    """How many of the front are better than each trial that the search is compared with.

    In the study's objectives, and for networks in error and deployment energy where those are others.
    """
    compared = [t for t in trials if t.is_default]
    if not compared:
        return "there is no default yet"

    def counts(objectives: list[str]) -> list[int]:
        return [len(dominators(spec, trials, objectives, t.trial_id)) for t in compared]

    own: list[str] = list(spec.objectives)
    named = [f"{n} of them dominate {baseline(t)}" for n, t in zip(counts(own), compared, strict=True)]
    said = f"{', '.join(named)} in {_listed(own)}"
    if spec.task is not None or set(own) == set(_ON_SHIFT_HARDWARE):
        return said
    return f"{said}; in {_listed(_ON_SHIFT_HARDWARE)}, {' and '.join(map(str, counts(_ON_SHIFT_HARDWARE)))} do"


def provenance(objective: str, trials: Iterable[Trial]) -> str:
    """How an objective was obtained over trials, such as `estimated, codecarbon`."""
    found = {
        f"{m.quality}, {m.method}"
        for t in trials
        if (m := t.measurement(objective)) is not None and m.value is not None
    }
    return " or ".join(sorted(found)) or "unknown"


def recipe(trial: Trial) -> str:
    """The config's main traits, such as `deepshift-q w4 a4+4 adam` or `int8 adam`; of a task all of it."""
    if trial.is_of_task:
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.config.items())
    config = Recipe().model_dump() | trial.config
    if trial.family != "shift":
        return f"{trial.family} {config['optimizer']}"
    activations = f"{config['activation_integer_bits']}+{config['activation_fraction_bits']}"
    return f"{config['quantizer']} w{config['weight_bits']} a{activations} {config['optimizer']}"


def things(spec: StudySpec, n: int = 2) -> str:
    """What a study finds `n` of."""
    thing = "network" if spec.task is None else "configuration"
    return thing if n == 1 else f"{thing}s"


def extent(trial: Trial) -> str:
    """How much of it was done, such as `depth 3, epochs 9` or `fidelity 3.33`."""
    if not trial.is_of_task:
        return f"depth {trial.shift_depth}, epochs {trial.epochs}"
    return "in full" if trial.fidelity is None else f"fidelity {trial.fidelity:.4g}"


def int8_baseline(trials: Iterable[Trial]) -> Measurement | None:
    """Deployment energy of the network with 8-bit multiplications in place of shifts, the same for every trial."""
    return next((t.result.int8_deployment_energy for t in trials if t.result and t.result.int8_deployment_energy), None)


def caveat(trials: Iterable[Trial]) -> str:
    """What a person must know before reading the energies of `trials`."""
    trials = list(trials)
    reports = [t.result.energy for t in trials if t.result and t.result.energy and t.result.energy.joules is not None]
    devices = ", ".join(sorted({r.device for r in reports})) or "no device"
    if not any(t.state.is_finished for t in trials):
        origin = "No trial has ended yet, so nothing is known of energy."
    elif not reports:
        origin = "Energy is unknown: nothing on the workers could be read."
    elif all(r.quality == "estimated" for r in reports):
        origin = f"Energy is estimated by a model of {devices}, not measured: it grows with the load of the machine."
    else:
        origin = f"Energy is what {devices} spent on training and evaluation."
        if any(r.quality == "estimated" for r in reports):
            origin += " Where it says estimated it is that of a model, and not measured."
    if any(t.result and t.result.inference for t in trials):
        origin += " Energy per inference is that of passes repeated on the same device, and no part of it."
    if any(t.is_of_task for t in trials):
        return origin
    return f"{origin} {_SIMULATED}"


def _listed(objectives: list[str]) -> str:
    return " and ".join(title(name) for name in objectives)


_SIMULATED = (
    "Shifts are simulated by ordinary arithmetic, so it cannot show what shift hardware would save. Deployment "
    "energy is an analytic estimate for one image on 45 nm shift-and-add hardware. Errors are on the validation split "
    "that the search has seen."
)
