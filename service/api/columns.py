"""What plots need of the trials of a study, kept so that asking again costs little."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from service.schema import Trial
from service.spread import deviation, uncertainty
from service.wire import Origin

# Columns of a trial as it is; COLUMNS has also those of its result.
_OF_TRIALS = ("trial_id", "state", "fidelity", "is_full", "is_default", "attempt", "promoted_from")
COLUMNS = (*_OF_TRIALS, "duration_seconds", "worker", "failure")


@dataclass(frozen=True)
class Point:
    """What columns hold of one trial; a figure is its value, deviation, uncertainty and origin."""

    seq: int
    columns: dict[str, Any]
    figures: dict[str, tuple[float | None, float | None, float | None, Origin]]
    config: dict[str, Any]


class Columns:
    """The points of the trials of one study; each is made again only when its trial has changed."""

    def __init__(self) -> None:
        self._points: dict[str, Point] = {}

    def of(self, trials: Iterable[Trial]) -> list[Point]:
        """The points of these trials."""
        return [self._of(trial) for trial in trials]

    def _of(self, trial: Trial) -> Point:
        known = self._points.get(trial.trial_id)
        if known is None or known.seq != trial.seq:
            self._points[trial.trial_id] = known = _point(trial)
        return known


def _point(trial: Trial) -> Point:
    result = trial.result
    of_result = {
        "duration_seconds": result.seconds if result else None,
        "worker": result.worker if result else None,
        "failure": result.failure.kind if result and result.failure else None,
    }
    figures = {}
    for name, found in (result.objectives if result else {}).items():
        assert result is not None
        origin = Origin(unit=found.unit, method=found.method, quality=found.quality)
        figures[name] = (found.value, deviation(name, result), uncertainty(name, found.value, result), origin)
    own = {"shift_depth": trial.shift_depth, "epochs": trial.epochs}
    knobs = {name: value for name, value in own.items() if value is not None}
    columns = {name: getattr(trial, name) for name in _OF_TRIALS}
    return Point(trial.seq, columns | of_result, figures, knobs | trial.config)
