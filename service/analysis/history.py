"""How the front of a study grew over trials, seconds and joules, measured from one reference point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from service import pareto
from service.analysis.attempts import Event
from service.findings import HistoryDocument, HistoryPoint
from service.ledger import is_known, spendings
from service.ranking import Volume, comparable, costs, volume
from service.schema import StudySpec, StudyState, Trial, TrialState
from worker.schema import EnergyReport, Quality

ENDED = (StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED)


@dataclass(frozen=True)
class Moment:
    """How far a study was when something came of a trial; `joules` by quality are None once something is unknown."""

    at: datetime
    n_trials: int
    joules: dict[Quality, float] | None


class Progress:
    """How far a study was at each moment, as far as its log has been read.

    Attributes:
        began: when it first ran; None before that.
        turned: when it came into its state.
        completed: the moment at which each COMPLETED trial did, in that order.
        joules: that all attempts have spent, by quality; None from the first one on whose energy is unknown.
    """

    def __init__(self) -> None:
        self.began: datetime | None = None
        self.turned: datetime | None = None
        self.completed: dict[str, Moment] = {}
        self.joules: dict[Quality, float] | None = {}
        self._ended: set[str] = set()

    @property
    def n_trials(self) -> int:
        """Trials that have ended."""
        return len(self._ended)

    def add(self, log: Iterable[Event]) -> None:
        """Takes in further lines of the log."""
        for event in log:
            if event.kind.startswith("study_"):
                self.turned = event.at
                if event.kind == "study_running" and self.began is None:
                    self.began = event.at
            for _, _, report in spendings(event):
                self._spent(report)
            if event.kind in ("attempt_finished", "trial_stopped"):
                self._finished(event)

    def _spent(self, report: EnergyReport | None) -> None:
        """Adds to a new table: moments keep the one of their time."""
        if self.joules is None or report is None or report.joules is None or not is_known(report):
            self.joules = None
        else:
            quality = report.quality
            self.joules = self.joules | {quality: self.joules.get(quality, 0.0) + report.joules}

    def _finished(self, event: Event) -> None:
        trial_id, state = str(event.trial_id), event.payload.get("state", TrialState.STOPPED)
        if state != TrialState.WAITING:
            self._ended.add(trial_id)
        if state == TrialState.COMPLETED:
            self.completed[trial_id] = Moment(event.at, self.n_trials, self.joules)


@dataclass(frozen=True)
class Growth:
    """The changes of a front so far.

    Attributes:
        whole: the hypervolume of the front as it is, and the reference point of all points; None without a front.
        points: one for each change.
    """

    whole: Volume | None
    points: list[HistoryPoint]


def growth(spec: StudySpec, trials: Iterable[Trial], progress: Progress) -> Growth:
    """How a front grew.

    Args:
        spec: of the study.
        trials: as they are now; those that are no part of a front may be missing.
        progress: of the whole log.
    """
    order = {trial_id: number for number, trial_id in enumerate(progress.completed)}
    found = [trial for trial in comparable(spec, trials) if trial.trial_id in order]
    found.sort(key=lambda trial: order[trial.trial_id])
    if not found:
        return Growth(None, [])
    moments = [progress.completed[trial.trial_id] for trial in found]
    points = [_point(progress, moments[row], hypervolume) for row, hypervolume in front_changes(costs(spec, found))]
    return Growth(volume(spec, found), points)


def history(grown: Growth, progress: Progress, state: StudyState, now: datetime) -> HistoryDocument:
    """A point for each change of the front, and a last one for `now`, or for the end of a study that has ended."""
    if grown.whole is None:
        return HistoryDocument(reference_point=None, points=[])
    end = progress.turned if state in ENDED and progress.turned is not None else now
    last = _point(progress, Moment(end, progress.n_trials, progress.joules), grown.whole.hypervolume)
    return HistoryDocument(reference_point=grown.whole.reference_point, points=[*grown.points, last])


def _point(progress: Progress, moment: Moment, hypervolume: float) -> HistoryPoint:
    seconds = 0.0 if progress.began is None else (moment.at - progress.began).total_seconds()
    joules = moment.joules
    return HistoryPoint(
        n_trials=moment.n_trials,
        seconds=max(0.0, seconds),
        joules=None if joules is None else sum(joules.values()),
        joules_by_quality=joules or {},
        hypervolume=hypervolume,
    )


def front_changes(rows: pareto.Costs) -> list[tuple[int, float]]:
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
