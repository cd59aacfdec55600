"""Schedulers and workers as users start them, in processes of their own: ended, killed, replaced, with TLS."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest
from distributed import Client

import service
from service.access import Access
from service.certificates import make_certificates
from service.cluster import remote_cluster
from service.dispatch import DaskDispatcher, Task
from service.errors import InputError, RefusedError
from service.ledger import Ledger
from service.schema import DEFAULT_EPOCHS, StudySpec, Trial, TrialState
from service.server import run_study
from service.store import Store
from service.workers import n_cores
from tests.service.clusters import workers_of
from tests.service.fakes import study_document
from tests.service.processes import DASK, GREENSHIFT, dask_scheduler, descendants, have_ended, started, wait_until
from worker.schema import EpochMetrics, TrialResult

pytestmark = pytest.mark.slow
Workers = dict[str, dict[str, Any]]


def workers_by_name(client: Client) -> Workers:
    """What the scheduler knows of its workers; none while there is no scheduler."""
    return {worker["name"]: worker | {"address": address} for address, worker in workers_of(client).items()}


def pids_by_name(client: Client) -> dict[str, int]:
    """Process of each worker, and not of its nanny."""
    names = {worker["address"]: name for name, worker in workers_by_name(client).items()}
    return {names[address]: pid for address, pid in client.run(os.getpid).items()}


def running(client: Client) -> dict[str, str]:
    """Where each attempt is, as TRIAL/ATTEMPT and the name of its worker."""
    names = {worker["address"]: name for name, worker in workers_by_name(client).items()}
    found = {key: names.get(address) for address, keys in client.processing().items() for key in keys}
    return {key.partition("/")[2]: name for key, name in found.items() if "/" in key and name is not None}


def topic(client: Client) -> str:
    """Of the one study that runs."""
    (study_id,) = {key.split("/")[0] for keys in client.processing().values() for key in keys if "/" in key}
    return f"greenshift/{study_id}"


@contextmanager
def running_study(folder: Path, address: str) -> Iterator[None]:
    """The default configuration alone, which trains for many epochs."""
    spec = StudySpec.load(study_document(budget={"n_trials": 1}))
    stops: SimpleQueue[Callable[[], None]] = SimpleQueue()
    thread = threading.Thread(
        target=run_study, args=(spec, folder), kwargs={"scheduler": Access(address), "on_start": stops.put}
    )
    thread.start()
    stop = stops.get(timeout=120)
    try:
        yield
    finally:
        stop()
        thread.join(timeout=120)


def first_result(folder: Path) -> TrialResult:
    """What came of the first attempt of a study's only trial."""
    with Store(folder / "study.sqlite") as store:
        (study,) = store.studies()
        result = next(e.payload["result"] for e in store.events(study.study_id) if e.kind == "attempt_finished")
    return TrialResult.model_validate(result)


def trial_of(folder: Path) -> Trial:
    """A study's only trial."""
    with Store(folder / "study.sqlite") as store:
        (study,) = store.studies()
        (trial,) = store.trials(study.study_id)
    return trial


@contextmanager
def greenshift_workers(folder: Path, *arguments: str, **environment: str) -> Iterator[psutil.Process]:
    with started(*GREENSHIFT, "worker", *arguments, log=folder / "worker.log", **environment) as process:
        yield psutil.Process(process.pid)


def listening(pid: int) -> set[str]:
    """Addresses on which a process and all that come from it can be reached."""
    found = [c for p in descendants(pid) for c in psutil.Process(p).net_connections("inet")]
    return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN}


def test_workers_are_kept_up_until_their_command_is_told_to_end(tmp_path: Path) -> None:
    arguments = ["--name", "n1", "--cores-per-worker", str(n_cores()), "--local-directory", str(tmp_path / "dask")]
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        scheduler, address = first.enter_context(dask_scheduler(tmp_path))
        command = stack.enter_context(greenshift_workers(tmp_path, address, *arguments))
        client = first.enter_context(remote_cluster(Access(address)))
        wait_until(lambda: workers_by_name(client))
        ((name, worker),) = workers_by_name(client).items()
        assert (name, worker["resources"], worker["nthreads"]) == ("n1-0", {"CPU_SLOT": 1}, 1)
        assert set(client.run(os.getenv, "OMP_NUM_THREADS").values()) == {str(n_cores())}
        assert listening(command.pid) == {"127.0.0.1"}
        assert (tmp_path / "dask").is_dir()

        (killed,) = (child.pid for child in command.children())
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: worker["address"] not in workers_of(client))
        wait_until(lambda: workers_by_name(client))
        (child,) = command.children()
        assert child.pid != killed
        assert set(workers_by_name(client)) == {"n1-0"}

        scheduler.kill()
        first.close()
        assert have_ended([child.pid])
        port = int(address.rpartition(":")[2])
        stack.enter_context(dask_scheduler(tmp_path, port=port))
        with remote_cluster(Access(address)) as client:
            wait_until(lambda: workers_by_name(client))
            everybody = descendants(command.pid)
            command.terminate()
            assert command.wait(timeout=120) == 0
            assert have_ended(everybody)
            wait_until(lambda: not workers_by_name(client))


def test_nobody_outlives_a_killed_worker_command(tmp_path: Path) -> None:
    with (
        dask_scheduler(tmp_path) as (_, address),
        greenshift_workers(tmp_path, address) as command,
        remote_cluster(Access(address)) as client,
    ):
        wait_until(lambda: len(workers_by_name(client)) == n_cores())
        # Now the processes of trials are there as well.
        DaskDispatcher(client).inspect(Task("digits", "resnet8"))
        wait_until(lambda: len(descendants(command.pid)) > 3 * n_cores())
        everybody = descendants(command.pid)
        command.kill()
        assert have_ended(everybody)


@pytest.mark.parametrize("told", ["nanny", "all"])
def test_a_study_goes_on_elsewhere_as_soon_as_a_worker_is_told_to_end(tmp_path: Path, told: str) -> None:
    """Plain `dask` commands, as Slurm scripts and Kubernetes have them; some batch systems tell all processes."""
    with ExitStack() as stack:
        _, address = stack.enter_context(dask_scheduler(tmp_path))
        for name in ("a", "b"):
            command = [*DASK, "worker", address, "--name", name, "--nthreads", "1", "--resources", "CPU_SLOT=1"]
            command += ["--memory-limit", "0", "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
            stack.enter_context(started(*command, log=tmp_path / "worker.log", OMP_NUM_THREADS="1"))
        client = stack.enter_context(remote_cluster(Access(address)))
        wait_until(lambda: len(workers_by_name(client)) == 2)
        stack.enter_context(running_study(tmp_path / "out", address))
        wait_until(lambda: list(running(client)) == ["default/1"])
        before = running(client)["default/1"]
        epochs: SimpleQueue[EpochMetrics] = SimpleQueue()
        client.subscribe_topic(topic(client), lambda event: epochs.put(EpochMetrics.model_validate_json(event[1])))
        assert epochs.get(timeout=120).attempt == 1

        nanny = psutil.Process(pids_by_name(client)[before]).parent()
        assert nanny is not None
        everybody = descendants(nanny.pid)
        for pid in [nanny.pid, *(everybody if told == "all" else [])]:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: "default/2" in running(client))
        assert running(client)["default/2"] != before
        while epochs.get(timeout=120).attempt == 1:
            pass
        # The scheduler gave up at once, as it has been told, in place of running the attempt again itself.
        first = first_result(tmp_path / "out")
        assert first.failure is not None
        assert (first.failure.message, first.worker) == (f"worker {before} was told to end", before)
        # What it had spent is known all the same.
        assert first.energy is not None and first.energy.duration_seconds > 0
        assert "process_died" not in first.energy.flags
        assert nanny.wait(timeout=120) == 0
        assert have_ended(everybody)


def test_a_trial_goes_on_where_its_worker_was_told_to_end_and_nothing_is_trained_or_counted_twice(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        _, address = stack.enter_context(dask_scheduler(tmp_path))
        arguments = [address, "--cores-per-worker", str(n_cores()), "--name"]
        commands = {f"{name}-0": stack.enter_context(greenshift_workers(tmp_path, *arguments, name)) for name in "ab"}
        client = stack.enter_context(remote_cluster(Access(address)))
        wait_until(lambda: len(workers_by_name(client)) == 2)
        stack.enter_context(running_study(tmp_path / "out", address))
        wait_until(lambda: list(running(client)) == ["default/1"])
        before = running(client)["default/1"]
        epochs: SimpleQueue[EpochMetrics] = SimpleQueue()
        client.subscribe_topic(topic(client), lambda event: epochs.put(EpochMetrics.model_validate_json(event[1])))
        told = [epochs.get(timeout=120) for _ in range(3)]
        commands[before].terminate()
        while (told[-1].attempt, told[-1].epoch) != (2, DEFAULT_EPOCHS):
            told.append(epochs.get(timeout=120))
        assert {metrics.attempt for metrics in told} == {1, 2}
        # One may be lost with its worker; none is told, as none is trained, a second time.
        assert all(before.epoch < after.epoch for before, after in pairwise(told))
        wait_until(lambda: trial_of(tmp_path / "out").state is TrialState.COMPLETED)
        assert commands[before].wait(timeout=120) == 0
    first, last = first_result(tmp_path / "out"), trial_of(tmp_path / "out").result
    assert last is not None and first.energy is not None and last.energy is not None
    assert (first.rescued, first.worker, last.rescued) == (1, before, None)
    assert len(last.training_loss) == DEFAULT_EPOCHS
    # What was spent is known, each part once: by the trial in all, by its attempts, and in the ledger.
    spent = [first.energy.joules or 0.0, last.energy.joules or 0.0]
    assert [leg.joules for leg in last.earlier_legs] == spent[:1]
    assert last.objectives["energy"].value == pytest.approx(sum(spent))
    assert min(spent) > 0
    with Store(tmp_path / "out" / "study.sqlite") as store:
        ledger = Ledger.from_events(store.events(store.studies()[0].study_id))
    assert {(e.cause, e.worker, e.joules, e.n_unknown) for e in ledger.entries} == {
        ("retried", before, spent[0], 0),
        ("completed", last.worker, spent[1], 0),
    }
    assert not list((tmp_path / "out" / "checkpoints").iterdir())


def test_workers_of_another_version_get_no_trial(tmp_path: Path) -> None:
    other = tmp_path / "greenshift-9.8.7.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: greenshift\nVersion: 9.8.7\n")
    # Before the metadata that an installation may have left in the folder where this runs.
    path = f"{tmp_path}:{Path(service.__file__).parents[1]}"
    with (
        dask_scheduler(tmp_path) as (_, address),
        greenshift_workers(
            tmp_path, address, "--cores-per-worker", str(n_cores()), PYTHONPATH=path, PYTHONSAFEPATH="1"
        ),
        remote_cluster(Access(address)) as client,
    ):
        wait_until(lambda: workers_by_name(client))
        with pytest.raises(InputError, match=r"^it has greenshift 9\.8, and here is \d+\.\d+; both must be the same$"):
            DaskDispatcher(client).inspect(Task("digits", "resnet8"))


def test_a_cluster_with_tls_lets_in_whom_its_authority_knows(tmp_path: Path) -> None:
    ours, theirs, mixed = (tmp_path / name for name in ("ours", "theirs", "mixed"))
    make_certificates(ours)
    make_certificates(theirs)
    mixed.mkdir()
    (mixed / "ca.pem").symlink_to(ours / "ca.pem")
    for name in ("client.pem", "client.key"):
        (mixed / name).symlink_to(theirs / name)
    options = ["--tls-ca-file", f"{ours}/ca.pem", "--tls-cert", f"{ours}/scheduler.pem"]
    options += ["--tls-key", f"{ours}/scheduler.key"]
    with (
        dask_scheduler(tmp_path, *options) as (_, address),
        greenshift_workers(tmp_path, address, "--cores-per-worker", str(n_cores()), GREENSHIFT_TLS=str(ours)),
    ):
        assert address.startswith("tls://127.0.0.1:")
        with remote_cluster(Access(address, ours)) as client:
            wait_until(lambda: workers_by_name(client))
            DaskDispatcher(client)
            assert client.submit(pow, 2, 10, resources={"CPU_SLOT": 1}).result(timeout=120) == 1024
            assert all(worker["address"].startswith("tls://") for worker in workers_by_name(client).values())
        for access in (
            Access(address, theirs),
            Access(address, mixed),
            Access(address.replace("tls", "tcp")),
        ):
            with pytest.raises(RefusedError, match=r"^scheduler: .* does not let us in, with") as caught:  # noqa: SIM117
                with remote_cluster(access):
                    pass
            assert len(str(caught.value).splitlines()) == 1
