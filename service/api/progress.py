"""What follows from all trials and the whole log of a study, kept up to date so that asking again costs little."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

from service.ledger import Ledger
from service.ranking import Volume, front, volume
from service.schema import Study, StudySpec, Trial, TrialState
from service.store import Reader

# Studies that are kept; the one asked about longest ago goes first.
_MAX_STUDIES = 32
_BATCH = 1000


@dataclass(frozen=True)
class Standing:
    """How a study stands.

    Attributes:
        volume: of its front; None without one.
        front: non-dominated trials at full fidelity, sorted by the first objective.
        ledger: what it has spent.
    """

    volume: Volume | None
    front: list[Trial]
    ledger: Ledger


class Progress:
    """How the studies of a store stand.

    Args:
        store: of the studies.
    """

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._studies: OrderedDict[str, _Study] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, study: Study) -> Standing:
        """How `study` stands; only what is new since the last call is read."""
        with self._lock:
            found = self._studies.pop(study.study_id, None) or _Study(self._store, study.study_id)
            self._studies[study.study_id] = found
            if len(self._studies) > _MAX_STUDIES:
                self._studies.popitem(last=False)
        return found.standing(study.spec)


class _Study:
    """One study, as far as its log has been read."""

    def __init__(self, store: Reader, study_id: str) -> None:
        self._store, self._study_id = store, study_id
        self._lock = threading.Lock()
        self._seq_of_events = self._seq_of_trials = 0
        self._ledger = Ledger()
        self._trials: dict[str, Trial] = {}
        self._spec: StudySpec | None = None
        self._volume: Volume | None = None
        self._front: list[Trial] = []

    def standing(self, spec: StudySpec) -> Standing:
        with self._lock:
            self._read_events()
            if self._read_trials() or spec != self._spec:
                trials = list(self._trials.values())
                self._volume, self._front, self._spec = volume(spec, trials), front(spec, trials), spec
            return Standing(self._volume, self._front, Ledger([replace(entry) for entry in self._ledger.entries]))

    def _read_events(self) -> None:
        while events := self._store.events(self._study_id, self._seq_of_events, limit=_BATCH):
            self._ledger.add(events)
            self._seq_of_events = events[-1].seq

    def _read_trials(self) -> bool:
        """Whether there are new trials among those that a front is made of; the others are not kept."""
        is_new = False
        while trials := self._store.trials_changed(self._study_id, self._seq_of_trials, _BATCH):
            self._seq_of_trials = trials[-1].seq
            for trial in trials:
                if trial.state is TrialState.COMPLETED and trial.is_full:
                    self._trials[trial.trial_id] = trial
                    is_new = True
        return is_new
