"""How the front of a study grew over trials, seconds and joules, measured from one reference point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime

from service.analysis.attempts import Event
from service.analysis.growth import Growth
from service.findings import HistoryDocument, HistoryPoint
from service.ledger import is_known, spendings
from service.schema import StudyState, Trial, TrialState
from worker.schema import EnergyReport, Quality

ENDED = (StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED)


@dataclass(frozen=True)
class Moment:
    """How far a study was when something came of a trial; `joules` by quality are None once something is unknown."""

    at: datetime
    joules: dict[Quality, float] | None


class Progress:
    """How far a study was at each moment, as far as its log has been read.

    Attributes:
        began: when it first ran; None before that.
        turned: when it came into its state.
        completed: the moment at which each COMPLETED trial did.
        joules: that all attempts have spent, by quality; None from the first one on whose energy is unknown.
    """

    def __init__(self) -> None:
        self.began: datetime | None = None
        self.turned: datetime | None = None
        self.completed: dict[str, Moment] = {}
        self.joules: dict[Quality, float] | None = {}

    def add(self, log: Iterable[Event]) -> None:
        """Takes in further lines of the log."""
        for event in log:
            if event.kind.startswith("study_"):
                self.turned = event.at
                if event.kind == "study_running" and self.began is None:
                    self.began = event.at
            for _, _, report in spendings(event):
                self._spent(report)
            if event.kind == "attempt_finished" and event.payload["state"] == TrialState.COMPLETED:
                self.completed[str(event.trial_id)] = Moment(event.at, self.joules)

    def copy(self) -> Progress:
        """The same, which stays as it is when more is read."""
        other = copy(self)
        other.completed = dict(self.completed)
        return other

    def _spent(self, report: EnergyReport | None) -> None:
        """Adds to a new table: moments keep the one of their time."""
        if self.joules is None or report is None or report.joules is None or not is_known(report):
            self.joules = None
        else:
            quality = report.quality
            self.joules = self.joules | {quality: self.joules.get(quality, 0.0) + report.joules}


def history(
    grown: Growth, ended: Sequence[Trial], progress: Progress, state: StudyState, now: datetime
) -> HistoryDocument:
    """A point for each change of the front, and a last one for `now`, or for the end of a study that has ended.

    Args:
        grown: the growth of the front.
        ended: what growth is counted by.
        progress: of the whole log.
        state: of the study.
        now: the time.
    """
    if grown.whole is None:
        return HistoryDocument(reference_point=None, points=[])
    places = {trial.trial_id: number for number, trial in enumerate(ended, 1)}
    points = [
        _point(progress, progress.completed[trial.trial_id], places[trial.trial_id], hypervolume)
        for trial, hypervolume in grown.changes
    ]
    end = progress.turned if state in ENDED and progress.turned is not None else now
    last = _point(progress, Moment(end, progress.joules), len(ended), grown.whole.hypervolume)
    return HistoryDocument(reference_point=grown.whole.reference_point, points=[*points, last])


def _point(progress: Progress, moment: Moment, n_trials: int, hypervolume: float) -> HistoryPoint:
    seconds = 0.0 if progress.began is None else (moment.at - progress.began).total_seconds()
    joules = moment.joules
    return HistoryPoint(
        n_trials=n_trials,
        seconds=max(0.0, seconds),
        joules=None if joules is None else sum(joules.values()),
        joules_by_quality=joules or {},
        hypervolume=hypervolume,
    )
