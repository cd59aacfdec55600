from __future__ import annotations

import itertools
from typing import Any

import pytest
from prometheus_client import REGISTRY

from service.fleet import Standing
from service.roster import Bulletin, roster
from service.schema import StudyState
from service.store import Store, Workers, WorkerStatus
from tests.service.fakes import study_spec, trial

A, B = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1"
WORKER = WorkerStatus(A, "a", "CPU_SLOT", 2, 1)


def info(**workers: dict[str, Any]) -> dict[str, Any]:
    names = {"a": A, "b": B}
    return {"workers": {names[key]: {"name": key} | worker for key, worker in workers.items()}}


def executing(n: int) -> dict[str, Any]:
    return {"task_counts": {"executing": n, "memory": 5}}


def test_a_worker_has_the_slots_that_it_offers() -> None:
    found = roster(info(b={"resources": {"CPU_SLOT": 3}, "metrics": executing(2)}, a={"resources": {"GPU": 1.0}}), {})
    assert found == [WorkerStatus(A, "a", "GPU", 1, 0), WorkerStatus(B, "b", "CPU_SLOT", 3, 2)]


def test_a_worker_that_offers_nothing_is_none_of_ours() -> None:
    assert roster(info(a={"resources": {}}, b={"resources": {"MEMORY": 1}}), {}) == []


def test_a_question_beside_a_trial_takes_no_slot() -> None:
    (found,) = roster(info(a={"resources": {"CPU_SLOT": 1}, "metrics": executing(2)}), {})
    assert (found.n_slots, found.n_running) == (1, 1)


def test_what_studies_know_of_a_worker_is_put_together() -> None:
    standings = {
        "two": {A: Standing("cpu-x", is_set_aside=True)},
        "one": {A: Standing(None, is_set_aside=True)},
        "three": {A: Standing("cpu-x", is_set_aside=False), B: Standing("cpu-y", is_set_aside=False)},
    }
    found = roster(info(a={"resources": {"GPU": 1}}, b={"resources": {"GPU": 1}}), standings)
    assert [(w.device, w.set_aside_by) for w in found] == [("cpu-x", ("one", "two")), ("cpu-y", ())]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_workers_are_written_down_when_something_is_new_and_from_time_to_time(clock: Clock) -> None:
    with Store(None) as store:
        bulletin, seen = Bulletin(store, clock), []
        for seconds, found in [(0, [WORKER]), (1, [WORKER]), (2, []), (3, []), (12, [])]:
            clock.now = 100.0 + seconds
            bulletin.tell(found, [])
            seen.append(Workers(store).latest())
        assert [len(latest.workers) for latest in seen] == [1, 1, 0, 0, 0]
        assert [a.seen_at != b.seen_at for a, b in itertools.pairwise(seen)] == [False, True, False, True]


def test_trials_are_counted_by_state_and_only_those_of_running_studies_queue(clock: Clock) -> None:
    with Store(None) as store:
        running, paused = (store.create_study(study_spec(name=name)).study_id for name in ("running", "paused"))
        store.set_study_state(paused, StudyState.PAUSED)
        for study_id, n in ((running, 2), (paused, 3)):
            for index in range(n):
                store.add_trial(trial(str(index), study_id=study_id))
        store.start_attempt(store.trial(running, "0"))
        Bulletin(store, clock).tell([], [running])
    value = REGISTRY.get_sample_value
    assert value("greenshift_trials", {"state": "waiting"}) == 4
    assert value("greenshift_trials", {"state": "running"}) == 1
    assert value("greenshift_studies", {"state": "paused"}) == 1
    assert value("greenshift_queue_length") == 1
