"""The one door to a worker: specs in, results out, failures as data.

Importing this module loads no torch, so that a coordinator may name these functions; torch is imported when they
are called, on the worker, and where trials are isolated in their process only.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from os import getpid
from pathlib import Path

from worker.errors import ConfigurationError, DivergedError, StoppedError
from worker.isolation import describe_isolated, inspect_isolated, run_isolated
from worker.messages import Describe, Inspect
from worker.schema import (
    AnyTrialSpec,
    EpochMetrics,
    Failure,
    FailureKind,
    Interim,
    NetworkFile,
    SelfTestReport,
    SiteSpec,
    TaskDescription,
    TaskFacts,
    TaskTrialSpec,
    TrialResult,
    TrialSpec,
)
from worker.supervision import failed


def run_trial(
    spec: AnyTrialSpec,
    *,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    on_interim: Callable[[Interim], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    isolated: bool = False,
) -> TrialResult:
    """Trains and evaluates a network for each seed, or evaluates one config of a task, and returns what came of it.

    Never raises an exception of the trial.

    Args:
        spec: what to train or evaluate, and within which limits.
        on_epoch: is given the metrics of each epoch while the trial goes on.
        on_interim: is given what is known of the trial whenever that grows, if the trial is not isolated.
        should_stop: once it says so, the trial ends as cancelled: within a batch of training, and if isolated within
            a second of anything that is Python (two, where it is to leave its training), and killed three seconds
            later.
        isolated: in a process of its own, kept for the next trial. Then whatever happens to that process, up to its
            death, is a failure of the trial, and its memory has a limit.
    """
    started = time.monotonic()
    stop = _Stop(spec, should_stop)
    so_far = Interim.at_first(spec)

    def learn(interim: Interim) -> None:
        nonlocal so_far
        so_far = interim
        stop.seconds_before = interim.seconds_before
        on_interim(interim)

    try:
        if isolated:
            result = run_isolated(spec, on_epoch, should_stop)
        elif isinstance(spec, TaskTrialSpec):
            from worker.task_trial import run as run_task  # torch is loaded here, on the worker only

            result = run_task(spec, learn, on_epoch, stop)
        else:
            from worker.seeds import run_seeds  # torch is loaded here, on the worker only

            result = run_seeds(spec, learn, on_epoch, stop)
    except Exception as error:  # noqa: BLE001 - a failed trial is a result
        failure = stop.limit_failure(error) or as_failure(error)
        result = failed(spec, failure, so_far)
    return result.model_copy(
        update={
            "duration_seconds": time.monotonic() - started,
            "worker": f"{socket.gethostname()}:{getpid()}",
        }
    )


def inspect_task(
    dataset: str,
    network: str,
    data_dir: str | None = None,
    *,
    download: bool = False,
    weights_path: str | None = None,
    site: SiteSpec | None = None,
    isolated: bool = False,
) -> TaskFacts:
    """Resolves the names of a study on this worker; uses the network only to fetch a data set, if `download` says so.

    Raises:
        ConfigurationError: a data set, its folder or a network that this worker does not have, weights to start from
            that it cannot read or that do not fit, or a country or region of `site` that no trial could find the carbon
            intensity of.
        ChildError: the process that was asked died; only if `isolated`.
    """
    if isolated:
        question = Inspect(
            dataset=dataset, network=network, data_dir=data_dir, download=download, weights_path=weights_path, site=site
        )
        return inspect_isolated(question)
    from worker.trial import inspect  # torch is loaded here, on the worker only

    return inspect(dataset, network, data_dir, download=download, weights_path=weights_path, site=site)


def describe_task(name: str, *, site: SiteSpec | None = None, isolated: bool = False) -> TaskDescription:
    """Resolves the name of a task of the user's own on this worker.

    Raises:
        ConfigurationError: this worker does not have it, it cannot be used, or nobody knows the site.
        ChildError: the process that was asked died; only if `isolated`.
    """
    if isolated:
        return describe_isolated(Describe(name=name, site=site))
    from worker.task_trial import describe  # torch is loaded here, on the worker only

    return describe(name, site)


def pack_network(spec: TrialSpec, facts: TaskFacts, weights: Path, folder: Path) -> list[NetworkFile]:
    """Writes a trained network into `folder` in every form that it allows, as packed file first.

    Args:
        spec: of the trial that trained it.
        facts: of its data set and network.
        weights: what that trial left.
        folder: that exists.

    Raises:
        ConfigurationError: the weights cannot be read, or are not those of this network.
    """
    from worker.packing import pack  # torch is loaded here, where a user exports

    return pack(spec, facts, weights, folder)


def self_test() -> SelfTestReport:
    """What this machine can measure, and how well; takes a few seconds."""
    from worker.energy.selftest import self_test as run  # torch is loaded here, on the worker only

    return run()


def as_failure(error: Exception) -> Failure:
    """An exception as data."""
    return Failure(
        kind=_failure_kind(error),
        message=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
    )


class _Stop:
    """Whether a trial must end now: asked to, or at its limit of time.

    Attributes:
        seconds_before: that the attempts took which it goes on from.
    """

    def __init__(self, spec: AnyTrialSpec, should_stop: Callable[[], bool]) -> None:
        self._limit, self._should_stop = spec.time_limit_seconds, should_stop
        self._started = time.monotonic()
        self._is_late = False
        self.seconds_before = 0.0

    def __call__(self) -> bool:
        seconds = self.seconds_before + time.monotonic() - self._started
        self._is_late = self._limit is not None and seconds > self._limit
        return self._is_late or self._should_stop()

    def limit_failure(self, error: Exception) -> Failure | None:
        """The failure of a trial that ended with `error` because of its limit of time."""
        if not (self._is_late and isinstance(error, StoppedError)):
            return None
        said = f"the trial ran longer than its limit of {self._limit:g} s"
        # It ended as it should: where it was then is of no interest.
        return Failure(kind=FailureKind.TIME_LIMIT, message=said)


def _failure_kind(error: Exception) -> FailureKind:
    if isinstance(error, ConfigurationError):
        return FailureKind.CONFIGURATION
    if isinstance(error, DivergedError):
        return FailureKind.DIVERGED
    if isinstance(error, StoppedError):
        return FailureKind.CANCELLED
    # torch.OutOfMemoryError is told by its name: this module must not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return FailureKind.OUT_OF_MEMORY
    return FailureKind.CRASHED
