"""Sending trials to where they run: a Dask cluster, or this very process."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

from distributed import Client, Future, get_worker
from distributed.client import FutureCancelledError
from distributed.core import Status
from distributed.scheduler import KilledWorker

from service.errors import InputError, ServiceError
from service.fleet import UNREACHABLE, Fleet, Standing, expected_scheduler
from service.handover import begins, handover, last_word, leave_word, word_of_another
from worker.schema import AnyFacts, AnyTrialSpec, EpochMetrics, Failure, FailureKind, SiteSpec, TrialResult

Done = Callable[[TrialResult], None]
OnEpoch = Callable[[EpochMetrics], None]
# The address of the worker, and the result.
_Ran = tuple[str, TrialResult]
# For a result to come from its worker. Where that is gone, Dask would run the attempt again.
_FETCH_SECONDS = 60.0
# How a trial ends that its worker ends, or with it whoever sends a signal to all processes of a job.
_ENDED = (FailureKind.CANCELLED, FailureKind.CRASHED)


@dataclass(frozen=True)
class Task:
    """What all trials of a study share, and a worker checks before the first one.

    Attributes:
        data_dir: folder of the data sets on the workers; None is their own GREENSHIFT_DATA_DIR.
        download: a missing data set may be fetched.
        weights: file on the workers that every trial starts from, or None.
        site: where the energy is spent; None is nothing to check.
    """

    dataset: str
    network: str
    data_dir: str | None = None
    download: bool = False
    weights: str | None = None
    site: SiteSpec | None = None


@dataclass(frozen=True)
class OwnTask:
    """A task of the user's own, by the name that workers resolve, and where its energy is spent."""

    name: str
    site: SiteSpec | None = None


AnyTask = Task | OwnTask


class Dispatcher(Protocol):
    """Runs trials somewhere and says when each is done."""

    def n_slots(self) -> int:
        """How many trials can run at once, now; 0 while there is no worker.

        Raises:
            ClusterLostError: the scheduler is gone.
        """

    def n_free(self, n_wanted: int) -> int:
        """How many of `n_wanted` trials may be submitted now.

        Raises:
            ClusterLostError: the scheduler is gone.
        """

    def inspect(self, task: AnyTask) -> AnyFacts:
        """What a worker knows of a data set and a network, or of a task of the user's own.

        Raises:
            InputError: the worker does not have them, or not the weights to start from, or does not know the site.
        """

    def expect(self, task: AnyTask) -> None:
        """As `inspect`, for a study whose facts are known: workers are asked as they become free, nobody waits."""

    def pin(self, device: str) -> None:
        """Trials run only on this model of device from now on: energies of two models must not be mixed."""

    def submit(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> None:
        """Starts an attempt; `done` is called once with its result, from any thread. Never runs it twice.

        `on_epoch` is given what each epoch came to while the trial goes on, from any thread; it must not block, and
        may miss some.

        Raises:
            ClusterLostError: the scheduler is gone; whether the attempt goes on is known once there is one again.
        """

    def adopt(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> bool:
        """Takes over an attempt that another process submitted; False where it is not found.

        Then `done` is called as after `submit`, at once where the attempt has ended meanwhile.

        Raises:
            ClusterLostError: the scheduler is gone.
        """

    def cancel(self, trial_id: str) -> None:
        """Ends the attempts at this trial soon, each with the failure CANCELLED unless it is done before.

        Returns at once; a trial that is not running is left alone.
        """


class InlineDispatcher:
    """Runs every trial at once, where it is submitted: for tests and debugging.

    Args:
        isolated: in a process of its own, as on a worker, or in this very process.
    """

    def __init__(self, *, isolated: bool = False) -> None:
        self._isolated = isolated
        self._running: dict[str, threading.Event] = {}

    def n_slots(self) -> int:
        return 1

    def n_free(self, n_wanted: int) -> int:
        return min(n_wanted, 1)

    def inspect(self, task: AnyTask) -> AnyFacts:
        try:
            return _inspect(task, self._isolated)
        except ValueError as error:
            raise InputError(str(error)) from error
        except RuntimeError as error:
            raise ServiceError(str(error)) from error

    def expect(self, task: AnyTask) -> None:
        pass

    def pin(self, device: str) -> None:
        pass

    def submit(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> None:
        from worker.entry import run_trial

        stop = self._running[spec.trial_id] = threading.Event()
        try:
            result = run_trial(spec, on_epoch=on_epoch, should_stop=stop.is_set, isolated=self._isolated)
        finally:
            del self._running[spec.trial_id]
        done(result)

    def adopt(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> bool:
        return False

    def cancel(self, trial_id: str) -> None:
        if stop := self._running.get(trial_id):
            stop.set()


class DaskDispatcher:
    """Runs trials on the workers of a Dask scheduler, one per unit of `GPU` or, without GPUs, of `CPU_SLOT`.

    Args:
        client: connected to the scheduler; closed by whoever made it.
        durable: the scheduler outlives this process, and keeps the results of trials for the next one to adopt.
        is_drained: whether a worker, by its name, is to get no new trial at the moment.

    Raises:
        ServiceError: no worker offers either resource.
    """

    def __init__(
        self, client: Client, *, durable: bool = False, is_drained: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._client, self._durable = client, durable
        self._fleet = Fleet(client, is_drained)
        self._running: dict[str, _Running] = {}

    def n_slots(self) -> int:
        return self._fleet.n_slots()

    def n_free(self, n_wanted: int) -> int:
        self._give_up_stranded()
        return max(0, min(n_wanted, self._fleet.n_slots() - len(self._running)))

    def inspect(self, task: AnyTask) -> AnyFacts:
        return self._fleet.inspect(partial(_inspect, task))

    def expect(self, task: AnyTask) -> None:
        self._fleet.expect(partial(_inspect, task))

    def pin(self, device: str) -> None:
        self._fleet.pin(device)

    def standings(self) -> dict[str, Standing]:
        """What the study knows of each worker, by address."""
        return self._fleet.standings()

    def submit(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> None:
        addresses = self._fleet.addresses()
        if addresses == []:
            done(lost(spec, "no worker of this study is left"))
            return
        with expected_scheduler():
            future = self._client.submit(
                _run,
                spec,
                _topic(spec),
                # Of this submission alone: what is finalised again has the keys that it had before.
                f"{_key(spec)}/{uuid.uuid4().hex}",
                key=_key(spec),
                # A repeated key must not be answered from Dask's memory, and only the coordinator retries.
                pure=False,
                retries=0,
                workers=addresses,
                allow_other_workers=False,
                resources={self._fleet.resource: 1},
                # Else trials submitted together would run last in, first out.
                fifo_timeout="0ms",
            )
            if self._durable:
                self._client.publish_dataset(future, name=_key(spec), override=True)
            self._watch(spec, future, addresses, done, on_epoch)

    def adopt(self, spec: AnyTrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> bool:
        with expected_scheduler():
            try:
                future = self._client.get_dataset(_key(spec))
            except KeyError:
                return False
            self._watch(spec, future, None, done, on_epoch)
        return True

    def _watch(
        self, spec: AnyTrialSpec, future: Future[_Ran], addresses: list[str] | None, done: Done, on_epoch: OnEpoch
    ) -> None:
        # Again every time: a client that had to reconnect has lost its subscriptions.
        self._client.subscribe_topic(_topic(spec), self._hear)
        self._running[_key(spec)] = _Running(spec, future, addresses, on_epoch)
        future.add_done_callback(lambda future: self._finish(_key(spec), future, done))

    def _give_up_stranded(self) -> None:
        """Ends attempts that wait for workers of which none is left: nobody would ever begin with them."""
        alive = self._fleet.alive()
        for running in list(self._running.values()):
            if running.addresses is not None and alive.isdisjoint(running.addresses):
                running.is_stranded = True
                running.future.cancel()

    def cancel(self, trial_id: str) -> None:
        found = {key: running for key, running in list(self._running.items()) if running.spec.trial_id == trial_id}
        for running in found.values():
            running.is_cancelled = True
        self._cancel_all(found)

    def _cancel_all(self, found: dict[str, _Running]) -> None:
        # Workers that do not answer must not hold up the caller.
        threading.Thread(target=self._cancel, args=(found,), daemon=True).start()

    def _cancel(self, found: dict[str, _Running]) -> None:
        with suppress(*UNREACHABLE, FutureCancelledError):  # no scheduler any more: the trials are lost anyway
            names = [(_topic(running.spec), key) for key, running in found.items()]
            self._client.run(_stop, names, on_error="ignore")
            # What no worker has been given yet, none must be given.
            assigned = {key for keys in self._client.processing().values() for key in keys}
            for key, running in found.items():
                if key not in assigned:
                    running.future.cancel()

    def _hear(self, event: tuple[float, str]) -> None:
        """Runs on the client's own thread, which nothing may hold up."""
        metrics = EpochMetrics.model_validate_json(event[1])
        if running := self._running.get(_key(metrics)):
            running.on_epoch(metrics)

    def _finish(self, key: str, future: Future[_Ran], done: Done) -> None:
        running = self._running.pop(key)
        # Cancelled because this process lets go of the scheduler, the attempt goes on for the next one.
        if self._durable and (running.is_cancelled or not future.cancelled()):
            with suppress(*UNREACHABLE):  # without a scheduler there is nothing to take back
                self._client.unpublish_dataset(key)
        error = None if future.cancelled() else _error_of(future)
        address, result = _result_of(future, error, running)
        if isinstance(error, KilledWorker):
            with suppress(*UNREACHABLE):  # without a scheduler nobody knows more
                result = last_word(self._client, key) or result
        elif not address and not future.cancelled():
            # Dask may be running it again, which nobody waits for.
            self._cancel_all({key: running})
        kind = result.failure.kind if result.failure else None
        self._fleet.heed(address, kind)
        if running.is_cancelled and kind is FailureKind.WORKER_LOST:
            failure = Failure(kind=FailureKind.CANCELLED, message="the trial was cancelled")
            result = result.model_copy(update={"failure": failure})
        done(result)


@dataclass
class _Running:
    """An attempt that is somewhere on the cluster: at one of `addresses`, or nobody knows where."""

    spec: AnyTrialSpec
    future: Future[_Ran]
    addresses: list[str] | None
    on_epoch: OnEpoch
    is_cancelled: bool = False
    is_stranded: bool = False


def _key(named: AnyTrialSpec | EpochMetrics) -> str:
    """The name of an attempt as a task of Dask's."""
    return f"{named.study_id}/{named.trial_id}/{named.attempt}"


def _topic(spec: AnyTrialSpec) -> str:
    """Where the epochs of a study are told."""
    return f"greenshift/{spec.study_id}"


def _run(spec: AnyTrialSpec, topic: str, submission: str) -> _Ran:
    """Runs on the worker; only there is its code needed."""
    from worker.entry import run_trial

    worker, name, stopped = get_worker(), (topic, _key(spec)), _stopped()

    def is_leaving() -> bool:
        return worker.status not in (Status.running, Status.paused)

    with handover(worker):
        if not begins(worker, submission):
            # Dask retires the worker that had it; the coordinator alone says where and from where it goes on.
            said = "the worker that had begun with it has left no word"
            return worker.address, word_of_another(worker, submission) or lost(spec, said)
        result = run_trial(
            spec,
            on_epoch=lambda metrics: worker.log_event(topic, metrics.model_dump_json()),
            should_stop=lambda: name in stopped or is_leaving(),
            isolated=True,
        )
        # By the name that the scheduler, `greenshift workers` and its drains know.
        result = result.model_copy(update={"worker": str(worker.name)})
        if is_leaving() and name not in stopped and result.failure is not None and result.failure.kind in _ENDED:
            # Nobody asked for the end of this trial, nor is it to blame for it: another worker may have it.
            failure = Failure(kind=FailureKind.WORKER_LOST, message=f"worker {worker.name} was told to end")
            result = result.model_copy(update={"failure": failure})
        if is_leaving():
            leave_word(worker, [_key(spec), submission], result)
    stopped.discard(name)
    return worker.address, result


def _stop(names: list[tuple[str, str]]) -> None:
    """Runs on the worker, beside its trial."""
    _stopped().update(names)


@lru_cache(maxsize=1)
def _stopped() -> set[tuple[str, str]]:
    """Attempts that this worker shall end, or not begin with: the study's topic and the attempt's key."""
    return set()


def _inspect(task: AnyTask, isolated: bool = True) -> AnyFacts:
    """Runs on the worker; only there is its code needed."""
    from worker.entry import describe_task, inspect_task

    if isinstance(task, OwnTask):
        return describe_task(task.name, site=task.site, isolated=isolated)
    return inspect_task(
        task.dataset,
        task.network,
        task.data_dir,
        download=task.download,
        weights_path=task.weights,
        site=task.site,
        isolated=isolated,
    )


def _error_of(future: Future[_Ran]) -> Exception | None:
    """What keeps a result from coming; asked once, as a result that is lost makes the future wait for another one."""
    try:
        error: Exception | None = future.exception(timeout=_FETCH_SECONDS)
    except (*UNREACHABLE, FutureCancelledError) as gone:
        return gone
    return error


def _result_of(future: Future[_Ran], error: Exception | None, running: _Running) -> _Ran:
    """What the worker returned; whatever kept it from coming is a lost worker."""
    spec = running.spec
    if future.cancelled():
        gone = "every worker that it waited for" if running.is_stranded else "the scheduler"
        return "", lost(spec, f"{gone} was lost")
    if isinstance(error, KilledWorker):
        name = str(error.last_worker.name)
        return "", lost(spec, f"worker {name} ended or was cut off").model_copy(update={"worker": name})
    if error is not None:
        return "", lost(spec, f"no result came back: {type(error).__name__}: {error}")
    try:
        ran: _Ran = future.result(timeout=_FETCH_SECONDS)
    except (*UNREACHABLE, KilledWorker, FutureCancelledError) as gone_with:
        return "", lost(spec, f"the result went with its worker: {type(gone_with).__name__}")
    return ran


def lost(spec: AnyTrialSpec, message: str) -> TrialResult:
    """The result of an attempt whose worker is gone."""
    return _failed(spec, FailureKind.WORKER_LOST, message)


def _failed(spec: AnyTrialSpec, kind: FailureKind, message: str) -> TrialResult:
    names = {"study_id": spec.study_id, "trial_id": spec.trial_id, "attempt": spec.attempt}
    return TrialResult(**names, rescued=spec.rescued, failure=Failure(kind=kind, message=message))
