"""How the hypervolume of a front grew, and by which trials that is counted: the same wherever it is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from service import pareto
from service.ranking import Volume, comparable, costs, volume
from service.schema import StudySpec, Trial


@dataclass(frozen=True)
class Growth:
    """The changes of a front so far.

    Attributes:
        whole: the hypervolume of the front as it is, and the reference point of all; None without a front.
        changes: the trials that changed the front in the order in which they ended, each with the hypervolume then.
    """

    whole: Volume | None
    changes: list[tuple[Trial, float]]


def growth(spec: StudySpec, trials: Iterable[Trial]) -> Growth:
    """How the front of a study grew.

    Args:
        spec: of the study.
        trials: as they are now; those that are no part of a front may be missing.
    """
    found = sorted(comparable(spec, trials), key=lambda trial: trial.seq)
    if not found:
        return Growth(None, [])
    return Growth(volume(spec, found), [(found[row], value) for row, value in _changes(costs(spec, found))])


def finished(trials: Iterable[Trial]) -> list[Trial]:
    """The finished trials of the search in the order in which they ended; growth is counted by their places, from 1.

    Failed and stopped ones count. The default and other baselines do not: the search did not ask for them.
    """
    ended = (trial for trial in trials if trial.state.is_finished and not trial.is_default)
    return sorted(ended, key=lambda trial: trial.seq)


def _changes(rows: pareto.Costs) -> list[tuple[int, float]]:
    """The rows that changed the front of all rows before them, each with its hypervolume."""
    reference = pareto.reference_point(rows)
    kept = rows[:0]
    changes = []
    for number, row in enumerate(rows):
        if np.any(np.all(kept <= row, axis=1)):
            continue
        kept = np.vstack([kept[~np.all(row <= kept, axis=1)], row])
        changes.append((number, pareto.hypervolume(kept, reference)))
    return changes
