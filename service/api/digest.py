"""One study as far as its log has been read: what follows from it, worked out again only where something is new."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from service.analysis.growth import finished, growth
from service.analysis.history import ENDED, history
from service.analysis.importance import importance
from service.analysis.payback import payback
from service.analysis.rungs import rungs
from service.analysis.timeline import timeline
from service.api.columns import Columns, Point
from service.api.reading import Reading, Seen
from service.findings import HistoryDocument, ImportanceDocument, PaybackDocument, RungsDocument
from service.ledger import Ledger
from service.ranking import Volume, front, volume
from service.schema import Study, StudySpec, Trial, TrialState
from service.store import Reader

T = TypeVar("T")


class Digest:
    """What a study comes to; every question reads first what is new.

    Args:
        store: of the study.
        study_id: of the study.
    """

    def __init__(self, store: Reader, study_id: str) -> None:
        self._reading, self._columns = Reading(store, study_id), Columns()
        # What was worked out, each with what it was worked out from, and while it is: nobody waits for anything else.
        self._kept: dict[str, tuple[object, object]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def points(self, seq: int, limit: int) -> list[Point]:
        """Up to `limit` trials with an event behind number `seq`, in the order of their last events."""
        return self._columns.of(self._reading.changed(seq, limit))

    def volume(self, spec: StudySpec) -> Volume | None:
        """The hypervolume of the front; None without one."""
        seen = self._reading.all()
        return self._once("volume", (spec, seen.n_full), lambda: volume(spec, seen.full))

    def front(self, spec: StudySpec) -> list[Trial]:
        """The trials of the front, sorted by the first objective."""
        return self._front(spec, self._reading.all())

    def ledger(self) -> Ledger:
        """What the study has spent."""
        return self._reading.all().ledger

    def history(self, study: Study, now: datetime) -> HistoryDocument:
        """How the front grew; its last point is for `now`."""
        seen, spec = self._reading.all(), study.spec
        grown = self._once("growth", (spec, seen.n_full), lambda: growth(spec, seen.full))
        return history(grown, finished(seen.trials), seen.progress, study.state, now)

    def timeline(self, last: int | None = None) -> bytes:
        """The attempts, all or the `last` ones, and workers as JSON, which takes its time to write."""
        seen = self._reading.all()
        return self._once("timeline", (seen.seq, last), lambda: _timeline(seen, last))

    def rungs(self, spec: StudySpec) -> RungsDocument:
        """The fidelities with their trials."""
        seen = self._reading.all()
        return self._once("rungs", (spec, seen.seq), lambda: rungs(spec, seen.trials))

    def importance(self, study: Study) -> ImportanceDocument:
        """Which hyperparameters the objectives depend on; while the study goes on, with up to a twentieth unseen."""
        completed = [trial for trial in self._reading.all().trials if trial.state is TrialState.COMPLETED]
        n = len(completed)
        stamp = (study.spec, n if study.state in ENDED else int(math.log(max(n, 1), 1.05)))
        return self._once("importance", stamp, lambda: importance(study.spec, completed))

    def payback(self, spec: StudySpec) -> PaybackDocument:
        """When the study has paid for itself."""
        seen = self._reading.all()
        return payback(self._front(spec, seen), seen.full, seen.ledger)

    def _front(self, spec: StudySpec, seen: Seen) -> list[Trial]:
        return self._once("front", (spec, seen.n_full), lambda: front(spec, seen.full))

    def _once(self, name: str, stamp: object, work: Callable[[], T]) -> T:
        """What `work` returned last, where that was from the same."""
        with self._locks.setdefault(name, threading.Lock()):
            if name not in self._kept or self._kept[name][0] != stamp:
                self._kept[name] = stamp, work()
            found: T = self._kept[name][1]  # type: ignore[assignment]
            return found


def _timeline(seen: Seen, last: int | None) -> bytes:
    fidelities = {trial.trial_id: trial.fidelity for trial in seen.trials}
    whole = timeline(seen.attempts, fidelities)
    shown = whole if last is None else whole.model_copy(update={"attempts": whole.attempts[-last:]})
    return shown.model_dump_json().encode()
