"""The fidelities of a study: how many trials each has, how many went on, and how well a low one ranks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

from scipy import stats

from service.findings import FidelityCorrelation, Rung, RungsDocument
from service.ranking import of_one_method
from service.schema import StudySpec, Trial, TrialState

MIN_PAIRS = 5
# Equal configs are equal texts.
_KEY = json.JSONEncoder(sort_keys=True)


def rungs(spec: StudySpec, trials: Iterable[Trial]) -> RungsDocument:
    """The rungs of a study from the lowest fidelity up; the default is no part of them.

    Args:
        spec: of the study.
        trials: as they are now.
    """
    searched = [trial for trial in trials if not trial.is_default and trial.fidelity is not None]
    by_fidelity: dict[float, list[Trial]] = {}
    for trial in searched:
        by_fidelity.setdefault(float(trial.fidelity or 0.0), []).append(trial)
    promoted = {trial.promoted_from for trial in searched}
    fidelities = sorted(by_fidelity)
    keys = {trial.trial_id: _KEY.encode(trial.config) for trial in searched if trial.state is TrialState.COMPLETED}
    values = {(name, f): _values(name, by_fidelity[f], keys) for name in spec.objectives for f in fidelities}
    correlations = [
        _correlation(name, low, high, values[name, low], values[name, high])
        for name in spec.objectives
        for low, high in combinations(fidelities, 2)
    ]
    return RungsDocument(
        rungs=[_rung(fidelity, by_fidelity[fidelity], promoted) for fidelity in fidelities],
        correlations=[found for found in correlations if found.n],
    )


def spearman(low: Sequence[float], high: Sequence[float]) -> float | None:
    """Rank correlation of pairs, -1..1, ties sharing their rank; None of too few, or where one side is constant."""
    if len(low) < MIN_PAIRS or len(set(low)) == 1 or len(set(high)) == 1:
        return None
    return float(stats.spearmanr(low, high).statistic)


def _rung(fidelity: float, trials: list[Trial], promoted: set[str | None]) -> Rung:
    states = Counter(trial.state for trial in trials)
    return Rung(
        fidelity=fidelity,
        n_waiting=states[TrialState.WAITING],
        n_running=states[TrialState.RUNNING],
        n_completed=states[TrialState.COMPLETED],
        n_failed=states[TrialState.FAILED],
        n_promoted=sum(trial.trial_id in promoted for trial in trials),
    )


def _values(objective: str, trials: list[Trial], keys: dict[str, str]) -> dict[str, float]:
    """The values of an objective by config, all obtained in one way; of a config tried twice the later one."""
    known = [trial for trial in trials if trial.trial_id in keys and trial.value(objective) is not None]
    return {keys[t.trial_id]: float(t.value(objective) or 0.0) for t in of_one_method(objective, known)}


def _correlation(
    objective: str, low: float, high: float, at_low: dict[str, float], at_high: dict[str, float]
) -> FidelityCorrelation:
    both = [config for config in at_low if config in at_high]
    rank = spearman([at_low[config] for config in both], [at_high[config] for config in both])
    return FidelityCorrelation(objective=objective, low=low, high=high, n=len(both), spearman=rank)
