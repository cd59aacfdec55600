"""What whoever starts workers is told by the scheduler."""

from __future__ import annotations

import pytest

from service.demand import Demand, demand
from service.schema import StudyState
from service.store import Store, WorkerStatus
from tests.service.fakes import study_spec, trial


def worker(name: str, n_running: int = 0) -> WorkerStatus:
    return WorkerStatus(f"tcp://{name}", name, "GPU", 1, n_running)


@pytest.mark.parametrize(
    ("workers", "drained", "studies", "wanted"),
    [
        ([], (), [], 0),
        ([], (), [(0, 0)], 1),  # of a study that has just come, nobody knows the trials yet
        ([worker("a", 1), worker("b", 1)], (), [(2, 1)], 4),  # all are busy and one waits: twice as many
        ([worker("a", 1), worker("b")], (), [(1, 0)], 1),
        ([worker("a", 1), worker("b")], (), [(1, 0), (0, 3)], 4),
        ([worker("a", 1), worker("b", 1)], ("b",), [(2, 0)], 2),  # who leaves is there until it has finished
        ([worker("a", 1), worker("b", 1)], ("b",), [(2, 1)], 3),
    ],
)
def test_as_many_workers_are_wanted_as_there_is_work_for(
    workers: list[WorkerStatus], drained: tuple[str, ...], studies: list[tuple[int, int]], wanted: int
) -> None:
    assert demand(workers, drained, studies) == wanted


def test_trials_that_wait_and_studies_without_one_are_told_of_from_time_to_time() -> None:
    now, told = [0.0], list[int]()
    with Store(None) as store:
        tell = Demand(store, told.append, lambda: now[0]).tell
        first, second, ended = (store.create_study(study_spec()).study_id for _ in range(3))
        store.set_study_state(ended, StudyState.COMPLETED)
        for name in "123":
            store.add_trial(trial(name, study_id=first))
        tell([], frozenset())
        store.set_study_state(second, StudyState.PAUSED)
        now[0] = 4.9
        tell([], frozenset())
        assert told == [4]
        now[0] = 5.0
        tell([], frozenset())
        assert told == [4, 3]
