"""Sending trials to where they run: a Dask cluster, or this very process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from service.errors import InputError, ServiceError
from worker.schema import Failure, FailureKind, TaskFacts, TrialResult, TrialSpec

Done = Callable[[TrialResult], None]
# A worker offers one of these, once for each trial that it may run at a time.
RESOURCES = ("GPU", "CPU_SLOT")


@dataclass(frozen=True)
class Task:
    """What all trials of a study share: names that workers resolve.

    Attributes:
        data_dir: folder of the data sets on the workers; None is their own GREENSHIFT_DATA_DIR.
        download: a missing data set may be fetched.
    """

    dataset: str
    network: str
    data_dir: str | None = None
    download: bool = False


class Dispatcher(Protocol):
    """Runs trials somewhere and says when each is done."""

    def n_slots(self) -> int:
        """How many trials can run at once, now; 0 while there is no worker.

        Raises:
            ServiceError: there never will be one again.
        """

    def inspect(self, task: Task) -> TaskFacts:
        """What a worker knows of a data set and a network.

        Raises:
            InputError: the worker does not have them.
        """

    def submit(self, spec: TrialSpec, done: Done) -> None:
        """Starts an attempt; `done` is called once with its result, from any thread. Never runs it twice."""


class InlineDispatcher:
    """Runs every trial at once, in this process: for tests and debugging."""

    def n_slots(self) -> int:
        return 1

    def inspect(self, task: Task) -> TaskFacts:
        try:
            return _inspect(task)
        except ValueError as error:
            raise InputError(str(error)) from error

    def submit(self, spec: TrialSpec, done: Done) -> None:
        done(_run(spec))


class DaskDispatcher:
    """Runs trials on the workers of a Dask scheduler, one per unit of `GPU` or, without GPUs, of `CPU_SLOT`.

    Args:
        client: connected to the scheduler; closed by whoever made it.

    Raises:
        ServiceError: no worker offers either resource.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._resource = self._pick_resource()
        self._futures: set[Future[TrialResult]] = set()

    def n_slots(self) -> int:
        return sum(int(offered.get(self._resource, 0)) for offered in self._offers())

    def inspect(self, task: Task) -> TaskFacts:
        future = self._client.submit(_inspect, task, pure=False, resources={self._resource: 1})
        try:
            facts: TaskFacts = future.result()
        except ValueError as error:
            raise InputError(str(error)) from error
        except (KilledWorker, FutureCancelledError) as error:
            raise ServiceError("the worker was lost before the first trial") from error
        return facts

    def submit(self, spec: TrialSpec, done: Done) -> None:
        future = self._client.submit(
            _run,
            spec,
            key=f"{spec.study_id}/{spec.trial_id}/{spec.attempt}",
            # A repeated key must not be answered from Dask's memory, and only the coordinator retries.
            pure=False,
            retries=0,
            resources={self._resource: 1},
            # Else trials submitted together would run last in, first out.
            fifo_timeout="0ms",
        )
        self._futures.add(future)
        future.add_done_callback(lambda f: self._finish(f, spec, done))

    def _finish(self, future: Future[TrialResult], spec: TrialSpec, done: Done) -> None:
        self._futures.discard(future)
        done(_result_of(future, spec))

    def _pick_resource(self) -> str:
        offers = self._offers()
        for resource in RESOURCES:
            if any(offered.get(resource, 0) >= 1 for offered in offers):
                return resource
        raise ServiceError(
            f"no Dask worker offers a resource {' or '.join(RESOURCES)}; start one with "
            "`dask worker ADDRESS --nthreads 1 --resources GPU=1`"
        )

    def _offers(self) -> list[dict[str, Any]]:
        if self._client.status == "closed":
            raise ServiceError("the Dask scheduler is gone; the same command goes on once it is back")
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {}).values()
        return [worker["resources"] for worker in workers]


def _run(spec: TrialSpec) -> TrialResult:
    """Runs where the worker is; only there is its code needed."""
    from worker.entry import run_trial

    return run_trial(spec)


def _inspect(task: Task) -> TaskFacts:
    """Runs where the worker is; only there is its code needed."""
    from worker.entry import inspect_task

    return inspect_task(task.dataset, task.network, task.data_dir, download=task.download)


def _result_of(future: Future[TrialResult], spec: TrialSpec) -> TrialResult:
    """The result that the worker returned; whatever kept it from coming is a lost worker."""
    if future.cancelled():
        return lost(spec, "the scheduler was lost")
    error = future.exception(timeout=60)
    if error is not None:
        return lost(spec, f"no result came back: {type(error).__name__}: {error}")
    result: TrialResult = future.result(timeout=60)
    return result


def lost(spec: TrialSpec, message: str) -> TrialResult:
    """The result of an attempt whose worker is gone."""
    return TrialResult(
        study_id=spec.study_id,
        trial_id=spec.trial_id,
        attempt=spec.attempt,
        failure=Failure(kind=FailureKind.WORKER_LOST, message=message),
    )
