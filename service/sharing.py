"""One cluster for several studies: each gets slots by its weight, and none lies idle while some study wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.dispatch import AnyTask, Dispatcher, Done, OnEpoch
from worker.schema import AnyFacts, AnyTrialSpec, TrialResult


@dataclass
class Member:
    """A study that shares the cluster.

    Attributes:
        weight: its share of the slots, against those of the others.
        n_running: trials under way.
        n_wanted: trials that it would begin now.
        taken_at: when it began its last trial, in trials of all studies.
    """

    weight: float
    n_running: int = 0
    n_wanted: int = 0
    taken_at: int = 0
    wake: Callable[[], None] = lambda: None


def grants(members: Mapping[str, Member], n_free: int) -> dict[str, int]:
    """How many trials each study may begin, of `n_free` slots: next is always who has the least for its weight."""
    granted = dict.fromkeys(members, 0)
    for _ in range(n_free):
        wanting = [name for name, member in members.items() if granted[name] < member.n_wanted]
        if not wanting:
            break
        granted[min(wanting, key=lambda name: _load(members[name], granted[name]))] += 1
    return granted


def _load(member: Member, n_granted: int) -> tuple[float, int, int]:
    """What a study would have for its weight with one slot more; of equals, who has waited longest goes first."""
    return (member.n_running + n_granted + 1) / member.weight, n_granted, member.taken_at


class Shares:
    """Who has how many slots; one for a cluster, used from the threads of all coordinators."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._n_taken = 0
        self._lock = threading.Lock()

    def join(self, study_id: str, weight: float, wake: Callable[[], None]) -> None:
        """A study takes part from now on; `wake` is called when a slot has become free, from any thread."""
        with self._lock:
            self._members[study_id] = Member(weight, wake=wake)

    def leave(self, study_id: str) -> None:
        """A study is done; what it still runs is given back by itself."""
        with self._lock:
            self._members.pop(study_id, None)
        self._wake_others(study_id)

    def n_free(self, study_id: str, n_wanted: int, n_slots: int) -> int:
        """How many of `n_wanted` trials a study may begin now, on a cluster of `n_slots` for it."""
        with self._lock:
            self._members[study_id].n_wanted = n_wanted
            n_busy = sum(member.n_running for member in self._members.values())
            return grants(self._members, max(0, n_slots - n_busy))[study_id]

    def take(self, study_id: str) -> None:
        """A study begins a trial."""
        with self._lock:
            member = self._members[study_id]
            self._n_taken += 1
            member.taken_at = self._n_taken
            member.n_running += 1
            member.n_wanted = max(0, member.n_wanted - 1)

    def give_back(self, study_id: str) -> None:
        """A trial has ended; whoever is next is woken."""
        with self._lock:
            if member := self._members.get(study_id):
                member.n_running -= 1
        self._wake_others(study_id)

    def _wake_others(self, study_id: str) -> None:
        with self._lock:
            others = [m.wake for name, m in self._members.items() if name != study_id and m.n_wanted]
        for wake in others:
            wake()


class SharedDispatcher:
    """A study's own dispatcher, held to the study's share of the cluster."""

    def __init__(self, dispatcher: Dispatcher, shares: Shares, study_id: str) -> None:
        self._dispatcher, self._shares, self._study_id = dispatcher, shares, study_id

    def n_slots(self) -> int:
        return self._dispatcher.n_slots()

    def n_free(self, n_wanted: int) -> int:
        # What its own workers have no room for is not wanted.
        n_possible = self._dispatcher.n_free(n_wanted)
        return min(n_possible, self._shares.n_free(self._study_id, n_possible, self.n_slots()))

    def inspect(self, task: AnyTask) -> AnyFacts:
        return self._dispatcher.inspect(task)

    def expect(self, task: AnyTask) -> None:
        self._dispatcher.expect(task)

    def pin(self, device: str) -> None:
        self._dispatcher.pin(device)

    def submit(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> None:
        self._shares.take(self._study_id)
        self._dispatcher.submit(spec, self._giving_back(done), on_epoch)

    def adopt(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> bool:
        self._shares.take(self._study_id)
        found = self._dispatcher.adopt(spec, self._giving_back(done), on_epoch)
        if not found:
            self._shares.give_back(self._study_id)
        return found

    def cancel(self, trial_id: str) -> None:
        self._dispatcher.cancel(trial_id)

    def _giving_back(self, done: Done) -> Done:
        def finish(result: TrialResult) -> None:
            self._shares.give_back(self._study_id)
            done(result)

        return finish
