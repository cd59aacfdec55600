"""What follows from all trials and the whole log of each study, kept up to date so that asking again costs little."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime

from service.api.columns import Point
from service.api.digest import Digest
from service.findings import HistoryDocument, ImportanceDocument, PaybackDocument, RungsDocument
from service.ledger import Ledger
from service.ranking import Volume
from service.schema import Study, Trial
from service.store import Reader

# Studies that are kept; the one asked about longest ago goes first.
_MAX_STUDIES = 16


class Digests:
    """How the studies of a store stand.

    Args:
        store: of the studies.
    """

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._studies: OrderedDict[str, Digest] = OrderedDict()
        self._lock = threading.Lock()

    def points(self, study: Study, seq: int, limit: int) -> list[Point]:
        """Up to `limit` trials of a study with an event behind number `seq`, in the order of their last events."""
        return self._of(study).points(seq, limit)

    def volume(self, study: Study) -> Volume | None:
        """The hypervolume of a study's front; None without one."""
        return self._of(study).volume(study.spec)

    def front(self, study: Study) -> list[Trial]:
        """The trials of a study's front, sorted by the first objective."""
        return self._of(study).front(study.spec)

    def ledger(self, study: Study) -> Ledger:
        """What a study has spent."""
        return self._of(study).ledger()

    def history(self, study: Study, now: datetime) -> HistoryDocument:
        """How the front of a study grew; its last point is for `now`."""
        return self._of(study).history(study, now)

    def timeline(self, study: Study, last: int | None = None) -> bytes:
        """The attempts of a study, all or the `last` ones, and its workers, as JSON."""
        return self._of(study).timeline(last)

    def rungs(self, study: Study) -> RungsDocument:
        """The fidelities of a study with their trials."""
        return self._of(study).rungs(study.spec)

    def importance(self, study: Study) -> ImportanceDocument:
        """Which hyperparameters the objectives of a study depend on."""
        return self._of(study).importance(study)

    def payback(self, study: Study) -> PaybackDocument:
        """When a study has paid for itself."""
        return self._of(study).payback(study.spec)

    def _of(self, study: Study) -> Digest:
        with self._lock:
            found = self._studies.pop(study.study_id, None) or Digest(self._store, study.study_id)
            self._studies[study.study_id] = found
            if len(self._studies) > _MAX_STUDIES:
                self._studies.popitem(last=False)
            return found
