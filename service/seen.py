"""The trials of a study as they are now, each read again only when it has changed."""

from __future__ import annotations

from service.schema import Trial
from service.store import Store


class SeenTrials:
    """Reads all trials once, and from then on what is new.

    Args:
        store: of the study; one coordinator writes there.
        study_id: whose trials.
    """

    def __init__(self, store: Store, study_id: str) -> None:
        self._store, self._study_id = store, study_id
        self._trials: dict[str, Trial] = {}
        self._seq = 0

    def now(self) -> list[Trial]:
        """All trials in the order in which they were added."""
        changed = self._store.trials_changed(self._study_id, self._seq) if self._trials else []
        if not self._trials or sum(trial.trial_id not in self._trials for trial in changed) > 1:
            # Those that changed come by their last events: of several new ones only the store knows the order.
            changed = self._store.trials(self._study_id)
            self._trials = {}
        self._trials |= {trial.trial_id: trial for trial in changed}
        self._seq = max([self._seq, *(trial.seq for trial in changed)])
        return list(self._trials.values())
