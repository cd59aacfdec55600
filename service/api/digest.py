"""One study as far as its log has been read: what follows from it, worked out again only where something is new."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from service.analysis.attempts import Attempts
from service.analysis.history import ENDED, Progress, growth, history
from service.analysis.importance import importance
from service.analysis.payback import payback
from service.analysis.rungs import rungs
from service.analysis.timeline import timeline
from service.api.light import with_figures_alone, without_layers
from service.findings import HistoryDocument, ImportanceDocument, PaybackDocument, RungsDocument
from service.ledger import Ledger, result_of
from service.ranking import Volume, front, volume
from service.schema import Study, StudySpec, Trial, TrialState
from service.store import Event, Reader

T = TypeVar("T")
_BATCH = 1000


class Digest:
    """What a study comes to; every question reads first what is new.

    Args:
        store: of the study.
        study_id: of the study.
    """

    def __init__(self, store: Reader, study_id: str) -> None:
        self._store, self._study_id = store, study_id
        self._lock = threading.Lock()
        # Of what takes seconds, so that nobody who asks for something else waits for it.
        self._slow_lock = threading.Lock()
        self._seq_of_events = self._seq_of_trials = 0
        self._ledger, self._attempts, self._progress = Ledger(), Attempts(), Progress()
        # All trials as analyses look at them, and those that a front is made of as lists show them.
        self._trials: dict[str, Trial] = {}
        self._full: dict[str, Trial] = {}
        self._n_full = 0
        # What was worked out, each with what it was worked out from.
        self._kept: dict[str, tuple[object, object]] = {}

    def volume(self, spec: StudySpec) -> Volume | None:
        """The hypervolume of the front; None without one."""
        with self._lock:
            self._read_trials()
            return self._once("volume", (spec, self._n_full), lambda: volume(spec, self._full.values()))

    def front(self, spec: StudySpec) -> list[Trial]:
        """The trials of the front, sorted by the first objective."""
        with self._lock:
            self._read_trials()
            return self._once("front", (spec, self._n_full), lambda: front(spec, self._full.values()))

    def ledger(self) -> Ledger:
        """What the study has spent."""
        with self._lock:
            self._read_events()
            return Ledger([replace(entry) for entry in self._ledger.entries])

    def history(self, study: Study, now: datetime) -> HistoryDocument:
        """How the front grew; its last point is for `now`."""
        with self._lock:
            # In this order the log tells of every trial.
            self._read_trials()
            self._read_events()
            spec, full = study.spec, self._full.values()
            grown = self._once("growth", (spec, self._n_full), lambda: growth(spec, full, self._progress))
            return history(grown, self._progress, study.state, now)

    def timeline(self, last: int | None = None) -> bytes:
        """The attempts, all or the `last` ones, and workers as JSON, which takes its time to write."""
        with self._lock:
            self._read_trials()
            self._read_events()
            stamp = (self._seq_of_trials, self._seq_of_events, last)
            return self._once("timeline", stamp, lambda: self._timeline(last))

    def rungs(self, spec: StudySpec) -> RungsDocument:
        """The fidelities with their trials."""
        with self._lock:
            self._read_trials()
            return self._once("rungs", (spec, self._seq_of_trials), lambda: rungs(spec, self._trials.values()))

    def importance(self, study: Study) -> ImportanceDocument:
        """Which hyperparameters the objectives depend on; while the study goes on, with up to a twentieth unseen."""
        with self._lock:
            self._read_trials()
            completed = [trial for trial in self._trials.values() if trial.state is TrialState.COMPLETED]
        n = len(completed)
        stamp = (study.spec, n if study.state in ENDED else int(math.log(max(n, 1), 1.05)))
        with self._slow_lock:
            return self._once("importance", stamp, lambda: importance(study.spec, completed))

    def payback(self, spec: StudySpec) -> PaybackDocument:
        """When the study has paid for itself."""
        best = self.front(spec)
        with self._lock:
            self._read_events()
            return payback(best, self._full.values(), self._ledger)

    def _timeline(self, last: int | None) -> bytes:
        fidelities = {trial_id: trial.fidelity for trial_id, trial in self._trials.items()}
        whole = timeline(self._attempts.rows, fidelities)
        shown = whole if last is None else whole.model_copy(update={"attempts": whole.attempts[-last:]})
        return shown.model_dump_json().encode()

    def _once(self, name: str, stamp: object, work: Callable[[], T]) -> T:
        """What `work` returned last, where that was from the same."""
        if name not in self._kept or self._kept[name][0] != stamp:
            self._kept[name] = stamp, work()
        found: T = self._kept[name][1]  # type: ignore[assignment]
        return found

    def _read_events(self) -> None:
        while events := self._store.events(self._study_id, self._seq_of_events, limit=_BATCH):
            parsed = [_parsed(event) for event in events]
            for each in (self._ledger, self._attempts, self._progress):
                each.add(parsed)
            self._seq_of_events = events[-1].seq

    def _read_trials(self) -> None:
        while trials := self._store.trials_changed(self._study_id, self._seq_of_trials, _BATCH):
            self._seq_of_trials = trials[-1].seq
            self._trials |= {trial.trial_id: with_figures_alone(trial) for trial in trials}
            full = {t.trial_id: without_layers(t) for t in trials if t.state is TrialState.COMPLETED and t.is_full}
            self._full |= full
            self._n_full += len(full)


def _parsed(event: Event) -> Event:
    """The event with its result read, once for all who look at it."""
    if "result" not in event.payload:
        return event
    return replace(event, payload=event.payload | {"result": result_of(event)})
