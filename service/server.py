"""A study in a folder of its own: run on this machine or a cluster, gone on with, finalized."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from service.access import Access
from service.artifacts import prune_models
from service.assembly import make_coordinator, pin, settle, task_of
from service.cluster import local_cluster, remote_cluster
from service.dispatch import DaskDispatcher
from service.earlier import front_in_files
from service.errors import ConflictError, InputError, NotFoundError
from service.finalize import finalize, write_final
from service.ledger import Ledger
from service.schema import Study, StudySpec, StudyState, TrialState
from service.scores import FinalScore
from service.seen import SeenTrials
from service.space import check_space
from service.store import Store
from service.study_run import StudyRun, write_spec
from service.warmstart import needs_front
from service.workers import default_n_workers, plan_workers
from worker.schema import TrialResult

# What a study may be given anew when it goes on.
_CHANGEABLE = {"budget", "keep_models", "max_lost_workers"}


def run_study(
    spec: StudySpec | str | Path | dict[str, Any],
    out: str | Path,
    *,
    n_workers: int | None = None,
    scheduler: Access | None = None,
    download: bool = False,
    on_open: Callable[[Study], None] = lambda _: None,
    on_start: Callable[[Callable[[], None]], None] = lambda _: None,
    on_change: Callable[[StudyRun], None] = lambda _: None,
) -> StudyRun:
    """Runs a study to its end in the folder `out`, or goes on with the one that `out` holds.

    Args:
        spec: the study, or a preset's name, a YAML file or a dict of one; on going on, its budget, `keep_models` and
            `max_lost_workers` may differ.
        out: created if missing; holds `study.sqlite`, `study.yaml` and `models/`.
        n_workers: processes on this machine; None is one per GPU, or one per core without GPUs.
        scheduler: a running Dask scheduler, used instead of processes of our own.
        download: a missing data set may be fetched.
        on_open: is given the study once its store is in the folder and what it names was found, before anything is
            started.
        on_start: is given a function that makes the run end soon, from any thread or a signal handler.
        on_change: is given the study after every change.

    Raises:
        InputError: a study that cannot be; no trial has been started then.
        ServiceError: the optimizer or the cluster failed; what finished is kept, and running again goes on.
    """
    spec, out = spec if isinstance(spec, StudySpec) else StudySpec.load(spec), Path(out)
    models_dir = str((out / "models").resolve())
    check_space(spec)
    if scheduler is None and n_workers is not None:
        plan_workers(n_workers, "local")
    with open_study(spec, out) as (study, store):
        seen = SeenTrials(store, study.study_id)
        earlier = front_in_files(str(spec.warm_start), study.spec) if needs_front(study, store) else None
        on_open(study)
        if study.state is not StudyState.COMPLETED:
            with _cluster(n_workers, scheduler) as client:
                dispatcher = DaskDispatcher(client, durable=scheduler is not None)
                facts = dispatcher.inspect(task_of(study.spec, download=download))
                study = settle(study, store, facts)
                if store.facts(study.study_id) != facts:
                    store.record_facts(study.study_id, facts)
                pin(study, store, dispatcher, facts)
                coordinator = make_coordinator(
                    study,
                    store,
                    dispatcher,
                    facts,
                    earlier=earlier,
                    models_dir=models_dir,
                    checkpoints=os.environ.get("GREENSHIFT_CHECKPOINT_URL") or str((out / "checkpoints").resolve()),
                    on_change=lambda: on_change(_so_far(study, store, seen)),
                )
                write_spec(study.spec, out)
                on_start(coordinator.stop)
                coordinator.run()
        else:
            prune_models(models_dir, store.trials(study.study_id), study.spec)
        ledger = Ledger.from_events(store.events(study.study_id))
        return StudyRun(store.study(study.study_id), seen.now(), ledger, store.final_results(study.study_id))


def _so_far(study: Study, store: Store, seen: SeenTrials) -> StudyRun:
    trials = seen.now()
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    return StudyRun(store.study(study.study_id), trials, epochs=store.epochs_done(running))


def finalize_study(
    out: str | Path,
    *,
    n_workers: int | None = None,
    scheduler: Access | None = None,
    on_start: Callable[[Callable[[], None]], None] = lambda _: None,
    on_result: Callable[[TrialResult, int, int], None] = lambda _result, _n_done, _n_all: None,
) -> tuple[list[FinalScore], StudyRun, bool]:
    """Trains the front of the study in the folder `out` anew and judges it by the test split; see `finalize`.

    Args:
        out: of a study that has a front; `final.csv` is written there.
        n_workers: processes on this machine; None is one per GPU, or one per core without GPUs.
        scheduler: a running Dask scheduler, used instead.
        on_start: is given a function that makes this end soon, from any thread or a signal handler.
        on_result: is given each result, how many are done and how many there are.

    Returns:
        The scores, the study as it is with them, and whether all of them are there.

    Raises:
        NotFoundError: the folder holds no study.
        InputError: the study has no front yet, or is of a task.
    """
    out = Path(out)
    if not (out / "study.sqlite").is_file():
        raise NotFoundError(f"study: {out} holds no study.sqlite")
    stopping = threading.Event()
    with _locked(out), Store(out / "study.sqlite") as store:
        study = store.studies()[0]
        if study.spec.task is not None:
            raise InputError(f"study: {out} is of task {study.spec.task}; only networks are judged by a test split")
        with _cluster(n_workers, scheduler) as client:
            dispatcher = DaskDispatcher(client)
            facts = dispatcher.inspect(task_of(study.spec))
            pin(study, store, dispatcher, facts)
            on_start(stopping.set)
            scores = finalize(study, store, dispatcher, on_result=on_result, should_stop=stopping.is_set)
        write_final(out / "final.csv", study, store)
        trials, ledger = store.trials(study.study_id), Ledger.from_events(store.events(study.study_id))
        return scores, StudyRun(study, trials, ledger, store.final_results(study.study_id)), not stopping.is_set()


def _cluster(n_workers: int | None, scheduler: Access | None) -> AbstractContextManager[Any]:
    """Processes on this machine, or the workers of a running scheduler."""
    if scheduler is not None:
        return remote_cluster(scheduler)
    return local_cluster(default_n_workers() if n_workers is None else n_workers)


@contextmanager
def open_study(spec: StudySpec, out: Path) -> Iterator[tuple[Study, Store]]:
    """The study that the folder `out` holds, with its store; created from `spec` where there is none.

    Raises:
        ConflictError: the folder holds another study, or is being used.
        InputError: the folder cannot be used.
    """
    with _locked(out):
        is_new, is_empty = not (out / "study.sqlite").exists(), False
        before = set(out.glob("study.*"))
        try:
            with Store(out / "study.sqlite") as store:
                existing = store.studies()
                study = _adopt(existing[0], spec, out, store) if existing else store.create_study(spec)
                if existing:
                    write_spec(study.spec, out)  # its budget may be new, and an interrupted run goes on with the file
                try:
                    yield study, store
                finally:
                    is_empty = is_new and not store.trials(study.study_id)
        finally:
            if is_empty:
                for path in set(out.glob("study.*")) - before:
                    path.unlink()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Holds the folder for this process alone; the kernel lets go of it however the process ends."""
    path = out / ".lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise InputError(f"out: {out} is no folder that can be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(f"out: {out} is being used by another run") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()  # where nothing is left in it


def _adopt(study: Study, spec: StudySpec, out: Path, store: Store) -> Study:
    """`study` with what `spec` may change of it, if they are otherwise the same."""
    # What a task has filled in once stays as it was.
    spec = spec.model_copy(update={key: getattr(study.spec, key) for key in spec.gaps - study.spec.gaps})
    ours, theirs = study.spec.model_dump(), spec.model_dump()
    different = {key for key in ours if ours[key] != theirs.get(key)}
    if beyond := [key for key in ours if key in different - _CHANGEABLE]:
        raise ConflictError(f"out: {out} holds another study (its {', '.join(beyond)} differ); name another folder")
    if different:
        study = store.change_spec(study, spec)
    if "budget" in different:
        store.set_study_state(study.study_id, StudyState.WAITING, "the budget changed")
    return store.study(study.study_id)
