"""Which trials of a study may be compared, and which of those no other dominates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from service import pareto
from service.compared import DEFAULT_TRIAL_ID
from service.schema import OF_ANY_DEVICE, StudySpec, Trial, TrialState

_BY_TRUST = ("measured", "integrated", "estimated", "none")


@dataclass(frozen=True)
class Volume:
    """Hypervolume of a front with the point it is measured from, one value per objective, in their own signs."""

    hypervolume: float
    reference_point: dict[str, float]


def comparable(spec: StudySpec, trials: Iterable[Trial]) -> list[Trial]:
    """COMPLETED trials at the maximum fidelity, the default left out, with every objective known by one method.

    All keep to the study's constraints.

    Where an objective was obtained in several ways, or on several models of device where these make a difference, only
    the trials of the most trusted way count, and of several such the most frequent.
    """
    bounds = spec.bounds
    kept = [
        t
        for t in trials
        if t.state is TrialState.COMPLETED
        and t.is_full
        and not t.is_default
        and all(t.value(name) is not None for name in spec.objectives)
        and all(bound.holds(t.value(bound.measurement)) for bound in bounds)
    ]
    for name in spec.objectives:
        kept = of_one_method(name, kept)
    return kept


def front(spec: StudySpec, trials: Iterable[Trial]) -> list[Trial]:
    """The comparable trials that no other dominates, sorted by the first objective."""
    candidates = comparable(spec, trials)
    kept = pareto.front(costs(spec, candidates))
    chosen = [t for t, keep in zip(candidates, kept, strict=True) if keep]
    return sorted(chosen, key=lambda t: tuple(costs(spec, [t])[0]))


def ties(spec: StudySpec, best: list[Trial]) -> str:
    """What is to be said behind the number of trials of a front where some are equal in every objective, or nothing."""
    n_distinct = len({tuple(cost) for cost in costs(spec, best)})
    if n_distinct == len(best):
        return ""
    return f" ({n_distinct} distinct point{'s' * (n_distinct != 1)})"


def dominators(
    spec: StudySpec, trials: Iterable[Trial], objectives: list[str], baseline: str = DEFAULT_TRIAL_ID
) -> list[Trial]:
    """Front trials that dominate the trial `baseline` in all of `objectives`, as far as those were obtained alike.

    What is no objective of the study is to be minimised.
    """
    everything = list(trials)
    other = next((t for t in everything if t.trial_id == baseline), None)
    if other is None or any(other.value(name) is None for name in objectives):
        return []
    signs = np.array([-1.0 if spec.objectives.get(name) == "maximize" else 1.0 for name in objectives])
    target = signs * _values(other, objectives)
    return [
        t
        for t in front(spec, everything)
        if alike(t, other, objectives) and pareto.dominates(signs * _values(t, objectives), target)
    ]


def alike(one: Trial, other: Trial, objectives: Iterable[str]) -> bool:
    """Whether both know all of `objectives`, each in one way: only then may their figures be compared."""
    return all(
        one.value(name) is not None and other.value(name) is not None and _origin(one, name) == _origin(other, name)
        for name in objectives
    )


def volume(spec: StudySpec, trials: Iterable[Trial]) -> Volume | None:
    """Hypervolume of the front, measured from a point a tenth of the range beyond the worst comparable values.

    The point moves with the trials: a trial worse than all before lets the volume grow and the front be as it was.
    """
    candidates = comparable(spec, trials)
    if not candidates:
        return None
    points = costs(spec, candidates)
    reference = pareto.reference_point(points)
    signs = (1 if d == "minimize" else -1 for d in spec.objectives.values())
    named = {
        str(name): float(sign * value) for name, sign, value in zip(spec.objectives, signs, reference, strict=True)
    }
    return Volume(pareto.hypervolume(points, reference), named)


def costs(spec: StudySpec, trials: list[Trial]) -> pareto.Costs:
    """Objectives of trials (trials, objectives), sign-turned so that less is better; all must be known."""
    signs = np.array([1.0 if d == "minimize" else -1.0 for d in spec.objectives.values()])
    rows = [_values(t, list(spec.objectives)) for t in trials]
    turned: pareto.Costs = np.array(rows).reshape(-1, len(signs)) * signs
    return turned


def of_one_method(name: str, trials: list[Trial]) -> list[Trial]:
    """Trials whose `name` was obtained in the best way: the most trusted quality, then the most frequent origin."""
    origins = Counter(_origin(t, name) for t in trials)
    if not origins:
        return trials
    best = min(origins, key=lambda origin: (_BY_TRUST.index(origin[0]), -origins[origin]))
    return [t for t in trials if _origin(t, name) == best]


def _values(trial: Trial, objectives: Iterable[str]) -> pareto.Costs:
    return np.array([trial.value(name) for name in objectives], dtype=float)


def _origin(trial: Trial, name: str) -> tuple[str, str, str]:
    """Quality and method of a figure, and where the device makes a difference also that: two models are two rulers."""
    measurement, result = trial.measurement(name), trial.result
    assert measurement is not None and result is not None
    report = result.inference.report if name == "inference_energy" and result.inference else result.energy
    device = report.device if report is not None and name not in OF_ANY_DEVICE else ""
    return measurement.quality, measurement.method, device
