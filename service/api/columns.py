"""What plots need of the trials of a study, kept so that asking again costs little."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from service.schema import Trial
from service.spread import deviation, uncertainty
from service.store import Reader
from service.wire import Origin

_MAX_STUDIES = 8
_BATCH = 1000
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


class Points:
    """Trials of the studies of a store, by their last events; each is read again only when it has changed."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._studies: OrderedDict[str, _Study] = OrderedDict()
        self._lock = threading.Lock()

    def after(self, study_id: str, seq: int, limit: int) -> list[Point]:
        """Up to `limit` trials with an event behind number `seq`, in the order of their last events."""
        with self._lock:
            study = self._studies.pop(study_id, None) or _Study(self._store, study_id)
            self._studies[study_id] = study
            if len(self._studies) > _MAX_STUDIES:
                self._studies.popitem(last=False)
        return study.after(seq, limit)


class _Study:
    """The trials of one study, as far as they have been read."""

    def __init__(self, store: Reader, study_id: str) -> None:
        self._store, self._study_id = store, study_id
        self._lock = threading.Lock()
        self._points: OrderedDict[str, Point] = OrderedDict()
        self._seq = 0

    def after(self, seq: int, limit: int) -> list[Point]:
        with self._lock:
            # Who wants few need not wait until all have been read.
            while len(self._behind(seq)) < limit and self._read_more():
                pass
            return self._behind(seq)[:limit]

    def _behind(self, seq: int) -> list[Point]:
        return list(itertools.takewhile(lambda point: point.seq > seq, reversed(self._points.values())))[::-1]

    def _read_more(self) -> bool:
        changed = self._store.trials_changed(self._study_id, self._seq, _BATCH)
        for trial in changed:
            self._points[trial.trial_id] = _point(trial)
            self._points.move_to_end(trial.trial_id)
            self._seq = trial.seq
        return bool(changed)


def _point(trial: Trial) -> Point:
    result = trial.result
    of_result = {
        "duration_seconds": result.duration_seconds if result else None,
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
