"""A real service over a real store: recorded trials, and a server on a free port of this machine."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from service.api import create_app
from service.schema import Study, StudyState, Trial, TrialState
from service.store import Store
from tests.service.fakes import completed, failed, study_spec, trial
from worker.schema import EpochMetrics, TrialResult


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store without studies and one with a recorded study, to copy: making tables takes its time."""
    empty, full = (tmp_path_factory.mktemp("stores") / name for name in ("empty.sqlite", "recorded.sqlite"))
    Store(empty).close()
    with Store(full) as store:
        recorded(store)
    return empty, full


@pytest.fixture
def store(request: pytest.FixtureRequest, files: tuple[Path, Path], tmp_path: Path) -> Iterator[Store]:
    """A store in a file; with a recorded study where a test asks for `study`."""
    path = tmp_path / "studies.sqlite"
    shutil.copy(files["study" in request.fixturenames], path)
    with Store(path) as store:
        yield store


@pytest.fixture
def study(store: Store) -> Study:
    return store.studies()[0]


def finish(store: Store, study: Study, result: TrialResult, **changes: Any) -> Trial:
    """Records a trial from its beginning to the end that `result` says."""
    begin(store, study, result.trial_id, **changes)
    state = TrialState.COMPLETED if result.failure is None else TrialState.FAILED
    assert store.finish_attempt(result.model_copy(update={"study_id": study.study_id}), state)
    return store.trial(study.study_id, result.trial_id)


def begin(store: Store, study: Study, trial_id: str, **changes: Any) -> Trial:
    """Records a trial that runs."""
    store.add_trial(trial(trial_id, study_id=study.study_id, **changes))
    return store.start_attempt(store.trial(study.study_id, trial_id))


def recorded(store: Store, **changes: Any) -> Study:
    """A RUNNING study with two trials on its front, one dominated, the default, one failed, one running, one waiting.

    Errors and deployment energies 0.1 and 4, 0.2 and 2, 0.4 and 4; 5 J each; three epochs of the running trial.
    """
    study = store.create_study(study_spec(**changes))
    store.set_study_state(study.study_id, StudyState.RUNNING)
    finish(store, study, completed("default", error=0.3, deployment_energy=9.0), is_default=True)
    finish(store, study, completed("00001", error=0.1, deployment_energy=4.0))
    finish(store, study, completed("00002", error=0.2, deployment_energy=2.0))
    finish(store, study, completed("00003", error=0.4, deployment_energy=4.0))
    finish(store, study, failed("00004"))
    begin(store, study, "00005")
    store.add_trial(trial("00006", study_id=study.study_id))
    store.record_epochs([epoch(study, "00005", number) for number in (1, 2, 3)])
    return store.study(study.study_id)


def epoch(study: Study, trial_id: str, number: int) -> EpochMetrics:
    return EpochMetrics(
        study_id=study.study_id, trial_id=trial_id, attempt=1, epoch=number, training_loss=1 / number, seconds=2.0
    )


@contextmanager
def serving(
    store: Store, port: int = 0, *, require_token: bool = False, requests_per_second: float | None = None
) -> Iterator[str]:
    """The URL of a server on this machine, for the time of a `with` block."""
    listener = socket.create_server(("127.0.0.1", port))
    app = create_app(
        store,
        require_token=require_token,
        requests_per_second=requests_per_second,
        is_stopping=lambda: server.should_exit,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=120)
        listener.close()
        assert not thread.is_alive()
