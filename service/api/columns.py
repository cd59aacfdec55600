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
        self._studies: OrderedDict[str, OrderedDict[str, Point]] = OrderedDict()
        self._lock = threading.Lock()

    def after(self, study_id: str, seq: int, limit: int) -> list[Point]:
        """Up to `limit` trials with an event behind number `seq`, in the order of their last events."""
        with self._lock:
            known = self._studies.pop(study_id, None) or OrderedDict()
            self._studies[study_id] = known
            if len(self._studies) > _MAX_STUDIES:
                self._studies.popitem(last=False)
            self._read(study_id, known)
            new = itertools.takewhile(lambda point: point.seq > seq, reversed(known.values()))
            return list(new)[::-1][:limit]

    def _read(self, study_id: str, known: OrderedDict[str, Point]) -> None:
        last = next(reversed(known.values())).seq if known else 0
        while changed := self._store.trials_changed(study_id, last, _BATCH):
            for trial in changed:
                known[trial.trial_id] = _point(trial)
                known.move_to_end(trial.trial_id)
            last = changed[-1].seq


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
