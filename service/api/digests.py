"""What follows from all trials and the whole log of a study, kept up to date so that asking again costs little."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Literal

from service.ledger import Ledger
from service.ranking import Volume, front, volume
from service.schema import Study, StudySpec, Trial, TrialState
from service.store import Reader

# Studies that are kept; the one asked about longest ago goes first.
_MAX_STUDIES = 32
_BATCH = 1000


class Digests:
    """How the studies of a store stand.

    Args:
        store: of the studies.
    """

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._studies: OrderedDict[str, _Study] = OrderedDict()
        self._lock = threading.Lock()

    def volume(self, study: Study) -> Volume | None:
        """The hypervolume of a study's front; None without one."""
        return self._of(study).volume(study.spec)

    def front(self, study: Study) -> list[Trial]:
        """The trials of a study's front, sorted by the first objective."""
        return self._of(study).front(study.spec)

    def ledger(self, study: Study) -> Ledger:
        """What a study has spent."""
        return self._of(study).ledger()

    def _of(self, study: Study) -> _Study:
        with self._lock:
            found = self._studies.pop(study.study_id, None) or _Study(self._store, study.study_id)
            self._studies[study.study_id] = found
            if len(self._studies) > _MAX_STUDIES:
                self._studies.popitem(last=False)
            return found


class _Study:
    """One study, as far as its log has been read; only what is new is read again."""

    def __init__(self, store: Reader, study_id: str) -> None:
        self._store, self._study_id = store, study_id
        self._lock = threading.Lock()
        self._seq_of_events = self._seq_of_trials = 0
        self._ledger = Ledger()
        self._trials: dict[str, Trial] = {}
        self._spec: StudySpec | None = None
        # Worked out when they are asked for.
        self._volume: Volume | Literal["unknown"] | None = "unknown"
        self._front: list[Trial] | None = None

    def volume(self, spec: StudySpec) -> Volume | None:
        with self._lock:
            self._read_trials(spec)
            if self._volume == "unknown":
                self._volume = volume(spec, self._trials.values())
            return self._volume

    def front(self, spec: StudySpec) -> list[Trial]:
        with self._lock:
            self._read_trials(spec)
            if self._front is None:
                self._front = front(spec, self._trials.values())
            return self._front

    def ledger(self) -> Ledger:
        with self._lock:
            self._read_events()
            return Ledger([replace(entry) for entry in self._ledger.entries])

    def _read_events(self) -> None:
        while events := self._store.events(self._study_id, self._seq_of_events, limit=_BATCH):
            self._ledger.add(events)
            self._seq_of_events = events[-1].seq

    def _read_trials(self, spec: StudySpec) -> None:
        """Takes in new trials, of which only those are kept that a front is made of."""
        is_new = spec != self._spec
        while trials := self._store.trials_changed(self._study_id, self._seq_of_trials, _BATCH):
            self._seq_of_trials = trials[-1].seq
            found = {t.trial_id: t for t in trials if t.state is TrialState.COMPLETED and t.is_full}
            self._trials |= found
            is_new |= bool(found)
        if is_new:
            self._spec, self._volume, self._front = spec, "unknown", None
