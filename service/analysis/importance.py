"""Which hyperparameters each objective depends on: how much worse a forest predicts once one of them is shuffled.

The forest learns on some trials and is judged on others, so that a hyperparameter that only helps to remember trials
counts as nothing (Breiman, Random Forests, 2001, on held-out folds).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from service.analysis.columns import Column, columns
from service.findings import ImportanceDocument, ObjectiveImportance, ParameterImportance
from service.ranking import of_one_method
from service.schema import StudySpec, Trial, TrialState

MIN_TRIALS = 20
# More tell no more, and take seconds: so many are drawn, which the document says.
MAX_TRIALS = 500
_N_FOLDS, _N_SHUFFLES, _N_TREES = 5, 5, 50

Floats = NDArray[np.float64]


def importance(spec: StudySpec, trials: Iterable[Trial], seed: int = 0) -> ImportanceDocument:
    """The importance of every hyperparameter that took several values, for each objective of a study.

    Trials of several fidelities are never mixed: those of the highest one count at which there are enough. The default
    is none of them. Equal trials and seeds give equal figures.
    """
    searched = [trial for trial in trials if trial.state is TrialState.COMPLETED and not trial.is_default]
    return ImportanceDocument(objectives={name: _of(name, searched, seed) for name in spec.objectives})


def _of(objective: str, trials: list[Trial], seed: int) -> ObjectiveImportance:
    method = f"permutation in a random forest, on {_N_FOLDS} held-out folds"
    found = _at_one_fidelity(objective, trials)
    if len(found) < MIN_TRIALS:
        reason = f"needs {MIN_TRIALS} completed trials of one fidelity, there are {len(found)}"
        return ObjectiveImportance(n_trials=len(found), method=method, score=None, parameters=[], reason=reason)
    rng = np.random.default_rng(seed)
    if len(found) > MAX_TRIALS:
        method += f", {MAX_TRIALS} of {len(found)} trials drawn by chance"
        found = [found[row] for row in np.sort(rng.choice(len(found), MAX_TRIALS, replace=False))]
    if found[0].fidelity is not None:
        method += f", trials at fidelity {found[0].fidelity:g}"
    target = np.array([trial.value(objective) for trial in found], dtype=float)
    table = columns([trial.config for trial in found], rng)
    if np.ptp(target) == 0 or not table:
        reason = "all trials have one value" if table else "no hyperparameter took several values"
        return ObjectiveImportance(n_trials=len(found), method=method, score=None, parameters=[], reason=reason)
    judged = _judge(table, target, rng, seed)
    parameters = sorted(_shares(table, judged.losses), key=lambda each: -each.importance)
    return ObjectiveImportance(n_trials=len(found), method=method, score=judged.score, parameters=parameters)


def _at_one_fidelity(objective: str, trials: list[Trial]) -> list[Trial]:
    """Trials whose objective was obtained in one way, at the highest fidelity with enough of them, else with most."""
    by_fidelity: dict[float, list[Trial]] = {}
    for trial in trials:
        if trial.value(objective) is not None:
            by_fidelity.setdefault(trial.fidelity or 0.0, []).append(trial)
    groups = [of_one_method(objective, by_fidelity[fidelity]) for fidelity in sorted(by_fidelity, reverse=True)]
    enough = next((group for group in groups if len(group) >= MIN_TRIALS), None)
    return enough if enough is not None else max(groups, key=len, default=[])


@dataclass(frozen=True)
class _Judged:
    """What a forest came to on trials that it had not seen.

    Attributes:
        score: R2.
        losses: by which the squared error grew (folds, hyperparameters).
    """

    score: float
    losses: Floats


def _judge(table: list[Column], target: Floats, rng: np.random.Generator, seed: int) -> _Judged:
    x = np.hstack([column.values for column in table])
    predicted = np.empty_like(target)
    losses = []
    for learned, held in KFold(_N_FOLDS, shuffle=True, random_state=seed).split(x):
        forest = RandomForestRegressor(_N_TREES, min_samples_leaf=2, random_state=seed)
        forest.fit(x[learned], target[learned])
        predicted[held] = forest.predict(x[held])
        error = np.mean((predicted[held] - target[held]) ** 2)
        shuffled = np.concatenate([_shuffled(x[held], table, held, i, rng) for i in range(len(table))])
        errors = (forest.predict(shuffled).reshape(len(table), _N_SHUFFLES, len(held)) - target[held]) ** 2
        losses.append(errors.mean(axis=(1, 2)) - error)
    return _Judged(float(r2_score(target, predicted)), np.array(losses))


def _shuffled(x: Floats, table: list[Column], held: NDArray[np.int64], i: int, rng: np.random.Generator) -> Floats:
    """`x` several times over, with hyperparameter `i` shuffled among the trials in which it is active."""
    first = sum(column.values.shape[1] for column in table[:i])
    block = slice(first, first + table[i].values.shape[1])
    active = np.flatnonzero(table[i].is_active[held])
    copies = []
    for _ in range(_N_SHUFFLES):
        copy = x.copy()
        copy[active, block] = x[rng.permutation(active), block]
        copies.append(copy)
    return np.concatenate(copies)


def _shares(table: list[Column], losses: Floats) -> list[ParameterImportance]:
    """What each hyperparameter adds to the error, as a share of what all do; below nothing is nothing."""
    means = np.maximum(losses.mean(axis=0), 0.0)
    total = means.sum() or 1.0
    spread = losses.std(axis=0, ddof=1)
    return [
        ParameterImportance(name=column.name, importance=float(mean / total), std=float(std / total))
        for column, mean, std in zip(table, means, spread, strict=True)
    ]
