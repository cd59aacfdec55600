from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from service.cluster import local_cluster
from service.errors import DamagedError, InputError
from service.schema import Study, StudySpec, StudyState, TrialState
from service.store import Store, Workers
from service.supervisor import Places, Supervisor
from tests.service.clusters import threads
from tests.service.fakes import study_spec
from tests.service.processes import wait_until
from tests.service.served import recorded
from tests.service.store.test_damaged import damage_pages
from tests.worker.distributions import write

QUICK = StudySpec.load(str(Path(__file__).parent / "quick.yaml"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "studies.sqlite") as store:
        yield store


@contextmanager
def supervised(
    store: Store, tmp_path: Path, connect: Callable[[], object], *, durable: bool = False
) -> Iterator[Supervisor]:
    """A supervisor at work."""
    supervisor = Supervisor(store, connect, Places(tmp_path / "models", str(tmp_path / "points")), durable=durable)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        thread.join(timeout=120)
        assert not thread.is_alive()


def wait_for(store: Store, study: Study, *states: StudyState, seconds: float = 120) -> StudyState:
    end = time.monotonic() + seconds
    while (state := store.study(study.study_id).state) not in states:
        assert time.monotonic() < end, f"the study is still {state}"
        time.sleep(0.05)
    return state


def reason(store: Store, study: Study) -> str:
    return next(e.payload["reason"] for e in reversed(store.events(study.study_id)) if e.kind.startswith("study_"))


@pytest.mark.slow
def test_two_studies_share_a_cluster(store: Store, tmp_path: Path) -> None:
    budget = QUICK.budget.model_copy(update={"n_trials": 3})
    specs = [QUICK.model_copy(update={"name": name, "seed": seed, "budget": budget}) for seed, name in enumerate("ab")]
    with local_cluster(2) as client, supervised(store, tmp_path, lambda: Client(client.scheduler.address)):
        studies = [store.create_study(spec) for spec in specs]
        for study in studies:
            assert wait_for(store, study, StudyState.COMPLETED, StudyState.FAILED) is StudyState.COMPLETED
            assert store.n_trials(study.study_id)["completed"] == 3
    weights = {p.parent.name for p in (tmp_path / "models").rglob("*.safetensors")}
    assert weights == {study.study_id for study in studies}


@pytest.mark.slow
def test_what_runs_at_the_end_of_a_supervisor_is_adopted_by_the_next(store: Store, tmp_path: Path) -> None:
    study = store.create_study(QUICK.model_copy(update={"budget": QUICK.budget.model_copy(update={"n_trials": 3})}))
    with local_cluster(1) as client:
        with supervised(store, tmp_path, lambda: Client(client.scheduler.address), durable=True):
            while not store.n_trials(study.study_id)["running"]:
                time.sleep(0.05)
        assert store.study(study.study_id).state is StudyState.RUNNING
        with supervised(store, tmp_path, lambda: Client(client.scheduler.address), durable=True):
            wait_for(store, study, StudyState.COMPLETED)
    assert {t.attempt for t in store.trials(study.study_id)} == {1}


@pytest.mark.slow
def test_a_drained_worker_gets_nothing_and_works_again_when_it_is_taken_back(store: Store, tmp_path: Path) -> None:
    spec = QUICK.model_copy(update={"budget": QUICK.budget.model_copy(update={"n_trials": 4})})
    workers = Workers(store)
    workers.drain("local-0")
    with local_cluster(2) as client, supervised(store, tmp_path, lambda: Client(client.scheduler.address)):
        begun = store.create_study(spec)
        wait_for(store, begun, StudyState.COMPLETED)
        (other,) = {t.result.worker for t in store.trials(begun.study_id) if t.result is not None}
        workers.undrain("local-0")
        workers.drain("local-1")
        second = store.create_study(spec.model_copy(update={"name": "second"}))
        wait_for(store, second, StudyState.COMPLETED)
        assert other not in {t.result.worker for t in store.trials(second.study_id) if t.result is not None}


@contextmanager
def idle_cluster(n_workers: int) -> Iterator[Callable[[], Client]]:
    # Else Dask silences the handlers of everybody.
    with threads(n_workers, silence_logs=False) as cluster:
        yield lambda: Client(cluster, set_as_default=False)


def test_a_study_that_no_worker_knows_fails_before_its_first_trial_and_says_why(store: Store, tmp_path: Path) -> None:
    with idle_cluster(1) as connect, supervised(store, tmp_path, connect):
        study = store.create_study(study_spec(network="resnet7"))
        wait_for(store, study, StudyState.FAILED)
    assert "network must be one of" in reason(store, study)
    assert store.trials(study.study_id) == []


def test_a_store_that_is_damaged_ends_the_supervisor(store: Store, tmp_path: Path) -> None:
    for _ in range(50):
        store.create_study(study_spec())
    store.close()
    damage_pages(tmp_path / "studies.sqlite")
    with idle_cluster(1) as connect:
        supervisor = Supervisor(store, connect, Places(tmp_path / "models", ""), durable=False)
        supervisor.run()
    assert isinstance(store.database.damage, DamagedError)


def test_a_study_begins_with_another_of_the_same_service_or_says_that_there_is_none(
    store: Store, tmp_path: Path
) -> None:
    earlier = recorded(store)
    store.set_study_state(earlier.study_id, StudyState.COMPLETED)
    with idle_cluster(1) as connect, supervised(store, tmp_path, connect):
        lost = store.create_study(study_spec(warm_start=str(tmp_path)))
        study = store.create_study(study_spec(warm_start=earlier.study_id))
        wait_for(store, lost, StudyState.FAILED)
        while store.warm_start(study.study_id) is None:
            time.sleep(0.05)
        store.request(study.study_id, "stop")
        wait_for(store, study, StudyState.STOPPED)
    # A service reads no folder, whoever names one.
    assert f"warm_start: there is no study {str(tmp_path)!r}" in reason(store, lost)
    assert [config["weight_bits"] for config in store.warm_start(study.study_id) or ()] == [3, 3]


def test_the_log_says_which_studies_are_taken_up_and_how_they_stand(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.supervisor")
    study = recorded(store)
    # What its coordinator does first, and the optimizer is not asked.
    store.request(study.study_id, "stop")
    with idle_cluster(1) as connect, supervised(store, tmp_path, connect):
        wait_for(store, study, StudyState.STOPPED)
    counts = "1 waiting, 1 running, 4 completed, 1 failed trials"
    assert f"study {study.study_id} (toy) is taken up: RUNNING, {counts}" in caplog.messages
    assert f"study {study.study_id} is STOPPED: stopped by the user" in caplog.messages


def test_what_a_study_waits_for_is_said_once(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service.supervisor")
    with idle_cluster(0) as connect, supervised(store, tmp_path, connect):
        study, later = (store.create_study(study_spec(name=name)) for name in ("waiting", "later"))
        wait_until(lambda: f"study {study.study_id} waits: no Dask worker" in caplog.text)
        time.sleep(2.5)
        store.request(later.study_id, "stop")
        wait_for(store, later, StudyState.STOPPED)
    assert caplog.text.count(f"study {study.study_id} waits: ") == 1


def test_a_study_waits_for_workers_and_can_be_stopped_meanwhile(store: Store, tmp_path: Path) -> None:
    with idle_cluster(0) as connect, supervised(store, tmp_path, connect):
        waiting, stopped = (store.create_study(study_spec(name=name)) for name in ("waiting", "stopped"))
        store.request(stopped.study_id, "stop")
        wait_for(store, stopped, StudyState.STOPPED)
        assert store.study(waiting.study_id).state is StudyState.WAITING


def test_a_cluster_that_is_not_there_is_tried_again(store: Store, tmp_path: Path) -> None:
    tried = threading.Event()
    n_tries = 0

    def connect() -> Client:
        nonlocal n_tries
        n_tries += 1
        if n_tries == 2:
            tried.set()
        raise InputError("scheduler: no Dask scheduler answers")

    stopped = store.create_study(study_spec())
    with supervised(store, tmp_path, connect):
        store.request(stopped.study_id, "stop")
        assert tried.wait(timeout=120)
        wait_for(store, stopped, StudyState.STOPPED)
    assert store.n_trials(stopped.study_id)[TrialState.RUNNING.lower()] == 0


def test_a_store_that_is_not_there_for_a_while_does_not_end_the_supervisor(store: Store, tmp_path: Path) -> None:
    """All on the supervisor's own thread, so that nobody else has the file open."""
    file, tries, tried = tmp_path / "studies.sqlite", [b""], threading.Event()

    def connect() -> Client:
        store.database.close()
        if len(tries) == 1:
            tries.append(file.read_bytes())
            file.write_bytes(b"x" * len(tries[1]))
        else:
            file.write_bytes(tries[1])
            tried.set()
        raise InputError("scheduler: no Dask scheduler answers")

    stopped = store.create_study(study_spec())
    store.request(stopped.study_id, "stop")
    with supervised(store, tmp_path, connect):
        assert tried.wait(timeout=120)
        wait_for(store, stopped, StudyState.STOPPED)


@pytest.mark.slow
def test_a_study_of_a_task_is_completed_by_the_workers_and_runs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "site", "unused", "", "[greenshift.tasks]\nvalley = tests.worker.valley:valley\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
    studies = [
        store.create_study(StudySpec.load({"name": task, "task": task, "budget": {"n_trials": 3}}))
        for task in ("valley", "hill")
    ]
    with local_cluster(1) as client, supervised(store, tmp_path, lambda: Client(client.scheduler.address)):
        states = [wait_for(store, study, StudyState.COMPLETED, StudyState.FAILED) for study in studies]

    assert states == [StudyState.COMPLETED, StudyState.FAILED]
    assert list(store.study(studies[0].study_id).spec.objectives) == ["height", "calm"]
    assert all(t.value("height") is not None for t in store.trials(studies[0].study_id))
    assert "task must be an entry point of greenshift.tasks (valley), got 'hill'" in reason(store, studies[1])
