from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from distributed import Client, LocalCluster

from service.cluster import local_cluster
from service.dispatch import DaskDispatcher, Dispatcher, InlineDispatcher, Task, lost
from service.errors import InputError, ServiceError
from worker.schema import FailureKind, Recipe, TrialResult, TrialSpec


def trial_spec(trial_id: str = "00001", **changes: Any) -> TrialSpec:
    values: dict[str, Any] = {
        "study_id": "s",
        "trial_id": trial_id,
        "dataset": "digits",
        "network": "resnet8",
        "recipe": Recipe(),
        "shift_depth": 1,
        "epochs": 1,
    }
    return TrialSpec(**(values | changes))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local_cluster(1) as client:
        yield client


@pytest.fixture(scope="module", params=["inline", "dask"])
def dispatcher(request: pytest.FixtureRequest) -> Dispatcher:
    return InlineDispatcher() if request.param == "inline" else DaskDispatcher(request.getfixturevalue("client"))


def results_of(dispatcher: Dispatcher, spec: TrialSpec) -> list[TrialResult]:
    """All results that a submitted trial gives; whatever came after the first would be there by the second call."""
    results: SimpleQueue[TrialResult] = SimpleQueue()
    dispatcher.submit(spec, results.put)
    found = [results.get(timeout=120)]
    dispatcher.inspect(Task("digits", "resnet8"))
    while not results.empty():
        found.append(results.get())
    return found


class TestContract:
    def test_one_trial_runs_at_a_time(self, dispatcher: Dispatcher) -> None:
        assert dispatcher.n_slots() == 1

    def test_a_worker_tells_the_facts_of_a_task(self, dispatcher: Dispatcher) -> None:
        facts = dispatcher.inspect(Task("digits", "resnet8"))
        assert (facts.n_layers, facts.image_shape, facts.n_classes) == (10, (1, 8, 8), 10)
        assert facts.n_train + facts.n_validation + facts.n_test == 1797

    @pytest.mark.parametrize(
        ("task", "said"),
        [
            (Task("digits", "resnet7"), "network must be one of resnet8.*'resnet7'"),
            (Task("letters", "resnet8"), "dataset must be one of digits.*'letters'"),
            (Task("fashion-mnist", "resnet8", "/nowhere"), "data_dir must be an existing folder, got /nowhere"),
        ],
    )
    def test_a_name_that_no_worker_knows_is_an_input_error(self, dispatcher: Dispatcher, task: Task, said: str) -> None:
        with pytest.raises(InputError, match=said):
            dispatcher.inspect(task)

    def test_a_trial_gives_one_completed_result(self, dispatcher: Dispatcher) -> None:
        results = results_of(dispatcher, trial_spec())
        assert [(r.study_id, r.trial_id, r.attempt, r.failure) for r in results] == [("s", "00001", 1, None)]
        assert set(results[0].objectives) == {"error", "deployment_energy", "energy", "emissions"}
        assert results[0].duration_seconds > 0

    def test_a_trial_that_cannot_be_gives_one_failure(self, dispatcher: Dispatcher) -> None:
        results = results_of(dispatcher, trial_spec("00002", network="resnet7"))
        assert [r.failure.kind for r in results if r.failure] == [FailureKind.CONFIGURATION]
        assert len(results) == 1


def test_a_repeated_trial_id_runs_again_under_another_attempt(client: Client) -> None:
    dispatcher = DaskDispatcher(client)
    results = [results_of(dispatcher, trial_spec("00003", attempt=attempt))[0] for attempt in (1, 2)]
    assert [(r.trial_id, r.attempt, r.failure) for r in results] == [("00003", 1, None), ("00003", 2, None)]


def test_a_killed_worker_is_a_lost_trial_and_the_next_attempt_runs(client: Client) -> None:
    dispatcher = DaskDispatcher(client)
    dispatcher.inspect(Task("digits", "resnet8"))
    (pid,) = client.run(os.getpid).values()
    results: SimpleQueue[TrialResult] = SimpleQueue()
    spec = trial_spec("00004", epochs=10_000)
    dispatcher.submit(spec, results.put)
    while not any(client.processing().values()):
        pass
    os.kill(pid, signal.SIGKILL)
    result = results.get(timeout=60)
    assert result.failure is not None
    assert (result.failure.kind, result.attempt) == (FailureKind.WORKER_LOST, 1)
    assert "KilledWorker" in result.failure.message
    (again,) = results_of(dispatcher, trial_spec("00004", attempt=2))
    assert (again.attempt, again.failure) == (2, None)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_cluster_that_offers_no_resource_is_refused_in_one_line(n_workers: int) -> None:
    with (
        LocalCluster(
            n_workers=n_workers, processes=False, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(ServiceError, match=r"resource GPU or CPU_SLOT; start one with .*dask worker") as caught,
    ):
        DaskDispatcher(client)
    assert len(str(caught.value).splitlines()) == 1


def test_a_lost_result_names_its_attempt() -> None:
    result = lost(trial_spec("00005", attempt=3), "gone")
    assert (result.study_id, result.trial_id, result.attempt) == ("s", "00005", 3)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.message) == (FailureKind.WORKER_LOST, "gone")
