from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from distributed import Client, Future

from service.cluster import local_cluster
from service.dispatch import DaskDispatcher, Dispatcher, InlineDispatcher, OwnTask, Task, lost
from service.errors import ClusterLostError, InputError, ServiceError
from tests.service.clusters import client_of_threads, workers_of
from tests.service.fakes import energy_report, failed
from tests.service.processes import descendants, have_ended, wait_until
from tests.worker.distributions import write
from worker import entry, isolation
from worker.isolation import WarmChildren
from worker.schema import (
    EpochMetrics,
    FailureKind,
    Recipe,
    SiteSpec,
    TaskDescription,
    TaskTrialSpec,
    TrialResult,
    TrialSpec,
)

# A task of as many steps as it takes until a file says that it is enough.
TICKING = """
import itertools
import time
from dataclasses import replace
from tests.worker.valley import valley

def tick(evaluation):
    for step in itertools.count(1):
        evaluation.report(step, 1.0)
        if (evaluation.data_dir / "enough").exists():
            return {"height": 1.0, "calm": 1.0}
        time.sleep(0.05)

ticking = replace(valley, run=tick)
"""
TASKS = "[greenshift.tasks]\nvalley = tests.worker.valley:valley\nticking = clockwork:ticking\n"


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
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tasks `valley` and `ticking`, known to this process and to those that it starts."""
    folder = tmp_path_factory.mktemp("distribution")
    write(folder, "clockwork", TICKING, TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        # Processes that an earlier test has left do not know it.
        children = WarmChildren()
        patch.setattr(isolation, "_warm_children", lambda: children)
        yield
        children.close()


@pytest.fixture(scope="module")
def client(plugin: None) -> Iterator[Client]:
    with local_cluster(1) as client:
        yield client


@pytest.fixture(scope="module", params=["inline", pytest.param("isolated", marks=pytest.mark.slow), "dask"])
def dispatcher(request: pytest.FixtureRequest, plugin: None) -> Dispatcher:
    if request.param == "dask":
        return DaskDispatcher(request.getfixturevalue("client"))
    return InlineDispatcher(isolated=request.param == "isolated")


@contextmanager
def submitted(
    dispatcher: Dispatcher, spec: TrialSpec, on_epoch: Callable[[EpochMetrics], None]
) -> Iterator[SimpleQueue[TrialResult]]:
    """A trial that is under way, and where its result will be."""
    results: SimpleQueue[TrialResult] = SimpleQueue()
    thread = threading.Thread(target=dispatcher.submit, args=(spec, results.put, on_epoch))
    thread.start()
    yield results
    thread.join(timeout=120)
    assert not thread.is_alive()


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
            (Task("digits", "resnet8", weights="/nowhere.pt"), "weights must be a file .* got /nowhere.pt"),
            (Task("digits", "resnet8", site=SiteSpec(country="XYZ")), "site.country must be .*, got 'XYZ'"),
        ],
    )
    def test_what_no_worker_knows_is_an_input_error(self, dispatcher: Dispatcher, task: Task, said: str) -> None:
        with pytest.raises(InputError, match=said):
            dispatcher.inspect(task)

    def test_a_worker_describes_a_task_of_the_users_own(self, dispatcher: Dispatcher) -> None:
        description = dispatcher.inspect(OwnTask("valley"))
        assert isinstance(description, TaskDescription)
        assert (description.name, list(description.objectives)) == ("valley", ["height", "calm"])
        with pytest.raises(InputError, match=r"task must be an entry point of .*valley.*, got 'hill'$"):
            dispatcher.inspect(OwnTask("hill"))
        with pytest.raises(InputError, match=r"site.country must be .*, got 'XYZ'"):
            dispatcher.inspect(OwnTask("valley", SiteSpec(country="XYZ")))

    def test_an_evaluation_of_a_task_tells_its_steps_and_gives_one_result(self, dispatcher: Dispatcher) -> None:
        config = {"rate": 0.5, "start": 8.0}
        spec = TaskTrialSpec(study_id="s", trial_id="00021", task="valley", config=config, fidelity=3.0)
        steps: SimpleQueue[EpochMetrics] = SimpleQueue()
        with submitted(dispatcher, spec, steps.put) as results:
            assert [steps.get(timeout=120).training_loss for _ in range(3)] == [16.0, 4.0, 1.0]
            result = results.get(timeout=120)
        assert (result.trial_id, result.failure, result.objectives["height"].value) == ("00021", None, 1.0)
        (refused,) = results_of(dispatcher, spec.model_copy(update={"trial_id": "00022", "task": "hill"}))
        assert refused.failure is not None
        assert refused.failure.kind is FailureKind.CONFIGURATION

    def test_a_trial_gives_one_completed_result(self, dispatcher: Dispatcher) -> None:
        results = results_of(dispatcher, trial_spec())
        assert [(r.study_id, r.trial_id, r.attempt, r.failure) for r in results] == [("s", "00001", 1, None)]
        assert set(results[0].objectives) == {"error", "deployment_energy", "energy", "emissions"}
        assert results[0].duration_seconds > 0

    def test_a_trial_that_cannot_be_gives_one_failure(self, dispatcher: Dispatcher) -> None:
        results = results_of(dispatcher, trial_spec("00002", network="resnet7"))
        assert [r.failure.kind for r in results if r.failure] == [FailureKind.CONFIGURATION]
        assert len(results) == 1

    def test_epochs_are_told_while_the_trial_goes_on_and_a_cancelled_trial_ends(self, dispatcher: Dispatcher) -> None:
        epochs: SimpleQueue[EpochMetrics] = SimpleQueue()
        with submitted(dispatcher, trial_spec("00006", epochs=10_000, attempt=2), epochs.put) as results:
            seen = [epochs.get(timeout=120) for _ in range(2)]
            assert results.empty()
            dispatcher.cancel("00006")
            result = results.get(timeout=120)
        assert [(m.study_id, m.trial_id, m.attempt, m.epoch) for m in seen] == [("s", "00006", 2, n) for n in (1, 2)]
        assert result.failure is not None
        assert (result.trial_id, result.attempt, result.failure.kind) == ("00006", 2, FailureKind.CANCELLED)
        assert result.energy is not None
        assert result.energy.duration_seconds > 0

    def test_what_does_not_run_is_not_cancelled_and_may_run_later(self, dispatcher: Dispatcher) -> None:
        dispatcher.cancel("00007")
        (result,) = results_of(dispatcher, trial_spec("00007"))
        assert result.failure is None


def test_a_worker_on_dask_keeps_torch_in_the_process_of_its_trials(client: Client) -> None:
    dispatcher = DaskDispatcher(client)
    assert results_of(dispatcher, trial_spec("00008"))[0].failure is None
    assert list(client.run(_is_torch_loaded).values()) == [False]


def test_a_result_says_by_the_name_that_the_scheduler_knows_who_made_it(client: Client) -> None:
    names = {str(worker["name"]) for worker in workers_of(client).values()}
    (result,) = results_of(DaskDispatcher(client), trial_spec("00010", network="resnet7"))
    assert names == {result.worker}


def _is_torch_loaded() -> bool:
    return "torch" in sys.modules


def test_a_trial_that_waits_for_a_worker_is_cancelled_without_one() -> None:
    with client_of_threads(1) as client:
        dispatcher = DaskDispatcher(client)
        client.cluster.scale(0)
        while dispatcher.n_slots():
            time.sleep(0.01)
        results: SimpleQueue[TrialResult] = SimpleQueue()
        dispatcher.submit(trial_spec("00009"), results.put)
        dispatcher.cancel("00009")
        result = results.get(timeout=120)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.message) == (FailureKind.CANCELLED, "the trial was cancelled")
    assert results.empty()


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_what_a_trial_spent_on_a_worker_that_is_told_to_end_is_known(
    monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
) -> None:
    begun = threading.Event()

    def run_trial(spec: TrialSpec, *, should_stop: Callable[[], bool], **_options: Any) -> TrialResult:
        begun.set()
        wait_until(should_stop)
        return failed(spec.trial_id, kind="cancelled").model_copy(update={"energy": energy_report(7.0)})

    monkeypatch.setattr(entry, "run_trial", run_trial)
    with client_of_threads(1) as client:
        dispatcher = DaskDispatcher(client)
        results: SimpleQueue[TrialResult] = SimpleQueue()
        dispatcher.submit(trial_spec("00001"), results.put)
        assert begun.wait(30)
        for running in dispatcher._running.values():
            running.is_cancelled = is_cancelled
        (worker,) = client.cluster.workers.values()
        client.sync(worker.close)
        result = results.get(timeout=120)
    assert result.failure is not None
    assert result.failure.kind is (FailureKind.CANCELLED if is_cancelled else FailureKind.WORKER_LOST)
    assert (result.worker, result.energy) == (str(worker.name), energy_report(7.0))


@pytest.mark.slow
def test_a_trial_on_a_worker_that_dask_retires_ends_there_and_its_next_attempt_goes_on_elsewhere(
    tmp_path: Path,
) -> None:
    with client_of_threads(2) as client:
        dispatcher = DaskDispatcher(client)
        epochs: SimpleQueue[EpochMetrics] = SimpleQueue()
        results: SimpleQueue[TrialResult] = SimpleQueue()
        spec = trial_spec("00010", epochs=10_000, rescue_to=str(tmp_path))
        dispatcher.submit(spec, results.put, epochs.put)
        last = [epochs.get(timeout=120) for _ in range(2)][-1]
        client.retire_workers([address for address, keys in client.processing().items() if keys])
        first = results.get(timeout=120)
        assert first.failure is not None and first.energy is not None
        assert (first.failure.kind, first.rescued) == (FailureKind.WORKER_LOST, 1)
        assert first.energy.duration_seconds > 0
        dispatcher.submit(spec.model_copy(update={"attempt": 2, "rescued": 1}), results.put, epochs.put)
        while (metrics := epochs.get(timeout=120)).attempt == 1:
            last = metrics
        assert metrics.epoch == last.epoch + 1
        dispatcher.cancel("00010")
        second = results.get(timeout=120)
    assert second.failure is not None
    assert (second.failure.kind, second.worker != first.worker) == (FailureKind.CANCELLED, True)
    assert results.empty()


def test_a_drained_worker_finishes_its_trial_gets_no_other_and_holds_up_nobody() -> None:
    drained: set[str] = set()
    with client_of_threads(2) as client:
        names = {address: str(w["name"]) for address, w in workers_of(client).items()}
        dispatcher = DaskDispatcher(client, is_drained=drained.__contains__)
        epochs: SimpleQueue[int] = SimpleQueue()
        results: SimpleQueue[TrialResult] = SimpleQueue()
        dispatcher.submit(trial_spec("00013", epochs=10_000), results.put, lambda m: epochs.put(m.epoch))
        assert epochs.get(timeout=120) == 1
        (busy,) = [address for address, keys in client.processing().items() if keys]
        drained.add(names[busy])
        assert (dispatcher.n_slots(), dispatcher.n_free(5)) == (2, 1)
        for trial_id in ("00014", "00015"):
            (other,) = results_of(dispatcher, trial_spec(trial_id))
            assert (other.trial_id, other.failure, dispatcher.n_free(5)) == (trial_id, None, 1)
        assert list(client.processing()[busy]) == ["s/00013/1"]
        drained.update(names.values())
        assert dispatcher.n_free(5) == 0
        dispatcher.cancel("00013")
        assert results.get(timeout=120).trial_id == "00013"
        wait_until(lambda: dispatcher.n_slots() == 0)
        drained.clear()
        wait_until(lambda: dispatcher.n_slots() == 2)


def test_a_repeated_trial_id_runs_again_under_another_attempt(client: Client) -> None:
    dispatcher = DaskDispatcher(client)
    results = [results_of(dispatcher, trial_spec("00003", attempt=attempt))[0] for attempt in (1, 2)]
    assert [(r.trial_id, r.attempt, r.failure) for r in results] == [("00003", 1, None), ("00003", 2, None)]


def test_an_attempt_of_the_same_number_that_is_submitted_again_runs_again(client: Client) -> None:
    dispatcher = DaskDispatcher(client)
    results = [results_of(dispatcher, trial_spec("final-1-0"))[0] for _ in range(2)]
    assert [(r.attempt, r.failure) for r in results] == [(1, None), (1, None)]


def test_a_killed_worker_is_a_lost_trial_and_the_next_attempt_runs(client: Client) -> None:
    dispatcher = DaskDispatcher(client)
    dispatcher.inspect(Task("digits", "resnet8"))
    (pid,) = client.run(os.getpid).values()
    results: SimpleQueue[TrialResult] = SimpleQueue()
    spec = trial_spec("00004", epochs=10_000)
    dispatcher.submit(spec, results.put)
    wait_until(lambda: any(client.processing().values()))
    children = descendants(pid)
    os.kill(pid, signal.SIGKILL)
    assert children
    assert have_ended(children)
    result = results.get(timeout=120)
    assert result.failure is not None
    assert (result.failure.kind, result.attempt) == (FailureKind.WORKER_LOST, 1)
    assert result.worker in result.failure.message
    assert "ended or was cut off" in result.failure.message
    assert "http" not in result.failure.message
    assert result.worker
    while not dispatcher.n_slots():
        time.sleep(0.05)
    (again,) = results_of(dispatcher, trial_spec("00004", attempt=2))
    assert (again.attempt, again.failure) == (2, None)


def test_a_result_that_nobody_can_be_asked_for_any_more_is_a_lost_trial(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exception(_future: Future[Any], timeout: float) -> Any:
        raise TimeoutError

    monkeypatch.setattr(Future, "exception", exception)
    (lost,) = results_of(DaskDispatcher(client), trial_spec("00017", dataset="none"))
    assert lost.failure is not None
    assert lost.failure.kind is FailureKind.WORKER_LOST
    assert lost.failure.message == "no result came back: TimeoutError: "


def test_a_result_that_goes_with_its_worker_is_a_lost_trial_and_is_not_made_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = DaskDispatcher(client)
    dispatcher.inspect(Task("digits", "resnet8"))
    (pid,) = client.run(os.getpid).values()
    fetch = Future.result

    def result(future: Future[Any], timeout: float) -> Any:
        os.kill(pid, signal.SIGKILL)
        return fetch(future, timeout=timeout)

    results: SimpleQueue[TrialResult] = SimpleQueue()
    with monkeypatch.context() as patch:
        patch.setattr(Future, "result", result)
        patch.setattr("service.dispatch._FETCH_SECONDS", 0.5)
        dispatcher.submit(trial_spec("00014", dataset="none"), results.put)
        lost = results.get(timeout=120)
    assert lost.failure is not None
    assert lost.failure.kind is FailureKind.WORKER_LOST
    assert lost.failure.message == "the result went with its worker: TimeoutError"
    wait_until(dispatcher.n_slots)
    wait_until(lambda: not any(client.processing().values()))


@pytest.mark.slow
def test_an_attempt_outlives_the_dispatcher_that_began_it_and_is_adopted_by_the_next(
    client: Client, tmp_path: Path
) -> None:
    address = client.scheduler.address
    config = {"rate": 0.5, "start": 8.0}
    spec = TaskTrialSpec(study_id="s", trial_id="00011", task="ticking", config=config, data_dir=str(tmp_path))
    with Client(address, set_as_default=False) as first:
        dispatcher = DaskDispatcher(first, durable=True)
        epochs: SimpleQueue[int] = SimpleQueue()
        dispatcher.submit(spec, lambda _: None, lambda metrics: epochs.put(metrics.epoch))
        begun = epochs.get(timeout=120)
    later: SimpleQueue[int] = SimpleQueue()
    results: SimpleQueue[TrialResult] = SimpleQueue()
    with Client(address, set_as_default=False) as second:
        dispatcher = DaskDispatcher(second, durable=True)
        assert not dispatcher.adopt(trial_spec("00011", attempt=7), results.put)
        assert dispatcher.adopt(spec, results.put, lambda metrics: later.put(metrics.epoch))
        assert later.get(timeout=120) > begun
        assert results.empty()
        (tmp_path / "enough").touch()
        result = results.get(timeout=120)
        assert (result.trial_id, result.failure, result.objectives["height"].value) == ("00011", None, 1.0)
        assert not dispatcher.adopt(spec, results.put)


@pytest.mark.parametrize("durable", [False, True])
def test_a_scheduler_that_has_gone_unnoticed_is_said_to_be_lost(durable: bool) -> None:
    with ExitStack() as stack:
        address = stack.enter_context(client_of_threads(1, protocol="tcp")).scheduler.address
        with Client(address, set_as_default=False, timeout=30) as client:
            dispatcher = DaskDispatcher(client, durable=durable)
            stack.close()
            client.close()
            with pytest.raises(ClusterLostError, match="the Dask scheduler is gone"):
                dispatcher.submit(trial_spec("00013"), lambda _: None)
            with pytest.raises(ClusterLostError, match="the Dask scheduler is gone"):
                dispatcher.adopt(trial_spec("00013"), lambda _: None)


def test_an_attempt_that_waits_for_workers_that_are_gone_is_lost_and_not_forgotten(tmp_path: Path) -> None:
    with client_of_threads(1) as client:
        dispatcher = DaskDispatcher(client)
        dispatcher.inspect(Task("digits", "resnet8"))
        blocker = client.submit(wait_until, (tmp_path / "enough").exists, resources={"CPU_SLOT": 1})
        results: SimpleQueue[TrialResult] = SimpleQueue()
        dispatcher.submit(trial_spec("00012"), results.put)
        client.cluster.scale(0)
        while results.empty():
            dispatcher.n_free(1)
            time.sleep(0.05)
        result = results.get()
        (tmp_path / "enough").touch()
        del blocker
    assert result.failure is not None
    assert result.failure.kind is FailureKind.WORKER_LOST


@pytest.mark.parametrize("ends", ["client", "cluster"])
def test_an_attempt_that_cannot_be_taken_back_from_its_scheduler_ends_all_the_same(ends: str) -> None:
    with client_of_threads(1, protocol="tcp://") as client:
        dispatcher = DaskDispatcher(client, durable=True)
        client.cluster.scale(0)
        while dispatcher.n_slots():
            time.sleep(0.01)
        results: SimpleQueue[TrialResult] = SimpleQueue()
        dispatcher.submit(trial_spec("00013"), results.put)
        for running in dispatcher._running.values():
            running.is_cancelled = True
        (client if ends == "client" else client.cluster).close()
        if ends == "cluster":
            client.close()
        result = results.get(timeout=120)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.CANCELLED
    assert results.empty()


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_cluster_that_offers_no_resource_is_refused_in_one_line(n_workers: int) -> None:
    with (
        client_of_threads(n_workers, resources={}) as client,
        pytest.raises(
            ServiceError, match=r"resource GPU or CPU_SLOT; start one with `greenshift worker ADDRESS`"
        ) as caught,
    ):
        DaskDispatcher(client)
    assert len(str(caught.value).splitlines()) == 1


def test_a_lost_result_names_its_attempt() -> None:
    result = lost(trial_spec("00005", attempt=3), "gone")
    assert (result.study_id, result.trial_id, result.attempt) == ("s", "00005", 3)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.message) == (FailureKind.WORKER_LOST, "gone")
