"""The fidelities of a study: how many trials each has, how many went on, and how well a low one ranks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

from scipy import stats

from service.findings import FidelityCorrelation, Rung, RungsDocument
from service.ranking import alike, of_one_method
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
    completed = {f: [trial for trial in by_fidelity[f] if trial.trial_id in keys] for f in fidelities}
    pairs = {(low, high): _pairs(completed[low], completed[high], keys) for low, high in combinations(fidelities, 2)}
    correlations = [
        _correlation(name, low, high, found) for name in spec.objectives for (low, high), found in pairs.items()
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
        n_stopped=states[TrialState.STOPPED],
        n_promoted=sum(trial.trial_id in promoted for trial in trials),
    )


def _pairs(low: Sequence[Trial], high: Sequence[Trial], keys: dict[str, str]) -> list[tuple[str, Trial, Trial]]:
    """Each config that was tried at both fidelities, with its trials there."""
    at_high: dict[str, list[Trial]] = {}
    for other in high:
        at_high.setdefault(keys[other.trial_id], []).append(other)
    found = ((keys[trial.trial_id], trial) for trial in low)
    return [(key, trial, other) for key, trial in found for other in at_high.get(key, ())]


def _correlation(objective: str, low: float, high: float, pairs: list[tuple[str, Trial, Trial]]) -> FidelityCorrelation:
    """Of values that were all obtained in one way, of a config tried twice the later ones.

    Were the way another at the other fidelity, the ranks would tell of the meters and not of the fidelities.
    """
    paired = [pair for pair in pairs if alike(pair[1], pair[2], [objective])]
    kept = {trial.trial_id for trial in of_one_method(objective, [trial for _, trial, _ in paired])}
    by_config = {key: (trial, other) for key, trial, other in paired if trial.trial_id in kept}
    at_low, at_high = ([trials[i].value(objective) or 0.0 for trials in by_config.values()] for i in (0, 1))
    rank = spearman(at_low, at_high)
    return FidelityCorrelation(objective=objective, low=low, high=high, n=len(by_config), spearman=rank)
