"""The log of one study, read once for all who ask: what is new is read batch by batch, and nothing twice."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from service.analysis.attempts import Attempts
from service.analysis.history import Progress
from service.api.light import with_figures_alone
from service.api.turns import Turns
from service.ledger import Ledger
from service.schema import Trial, TrialState
from service.store import Event, Reader, trials_after
from worker.schema import TrialResult

# What is read of a few hundred events is gone again before the collector of garbage goes through everything for it.
_BATCH = 250


@dataclass(frozen=True)
class Seen:
    """A study as it was at one moment; nothing of it changes any more.

    Attributes:
        seq: of the last event.
        trials: all, in the order of their last events, as far as analyses look at them.
        full: those that a front is made of, as lists of trials show them.
        n_full: how often one of those was new or came again.
        attempts: rows of `Attempts`.
    """

    seq: int
    trials: list[Trial]
    full: list[Trial]
    n_full: int
    ledger: Ledger
    progress: Progress
    attempts: list[dict[str, Any]]


class Reading:
    """A study as far as its log has been read.

    Args:
        store: of the study.
        study_id: of the study.
    """

    def __init__(self, store: Reader, study_id: str) -> None:
        self._store, self._study_id = store, study_id
        self._turns = Turns()
        self._seq = 0
        self._trials: dict[str, Trial] = {}
        self._full: dict[str, Trial] = {}
        self._n_full = 0
        self._ledger, self._attempts, self._progress = Ledger(), Attempts(), Progress()

    def all(self) -> Seen:
        """All that there is by now."""
        while self._read_more():
            pass
        with self._turns:
            return Seen(
                self._seq,
                list(self._trials.values()),
                list(self._full.values()),
                self._n_full,
                Ledger([replace(entry) for entry in self._ledger.entries]),
                self._progress.copy(),
                self._attempts.rows,
            )

    def changed(self, seq: int, limit: int) -> list[Trial]:
        """Up to `limit` trials with an event behind number `seq`, in the order of their last events.

        Who wants few need not wait until all have been read; a trial that the rest tells more of comes again then.
        """
        while True:
            with self._turns:
                behind = itertools.takewhile(lambda trial: trial.seq > seq, reversed(self._trials.values()))
                found = list(behind)[::-1]
            if len(found) >= limit or not self._read_more():
                return found[:limit]

    def _read_more(self) -> bool:
        """Takes in the next batch, while nobody else reads or looks; False where there is none."""
        with self._turns:
            events = [_parsed(event) for event in self._store.events(self._study_id, self._seq, limit=_BATCH)]
            if not events:
                return False
            trials = trials_after(self._study_id, self._trials, events)
            for each in (self._ledger, self._attempts, self._progress):
                each.add(events)
            for trial in trials:
                self._take(trial)
            self._seq = events[-1].seq
            return True

    def _take(self, trial: Trial) -> None:
        # What has changed goes to the end: the order is that of the last events.
        self._trials.pop(trial.trial_id, None)
        self._trials[trial.trial_id] = with_figures_alone(trial)
        if trial.state is TrialState.COMPLETED and trial.is_full:
            self._full[trial.trial_id] = trial
            self._n_full += 1


def _parsed(event: Event) -> Event:
    """The event with its result read, once for all who look at it; layers take the most time and nobody here looks."""
    if "result" not in event.payload:
        return event
    result = TrialResult.model_validate(event.payload["result"] | {"layers": ()})
    return replace(event, payload=event.payload | {"result": result})
