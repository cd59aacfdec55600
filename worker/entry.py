"""The one door to a worker: specs in, results out, failures as data.

Importing this module loads no torch, so that a coordinator may name these functions; torch is imported when they
are called, on the worker.
"""

from __future__ import annotations

import socket
import time
import traceback
from os import getpid

from worker.errors import ConfigurationError, DivergedError, StoppedError
from worker.schema import EnergyReport, Failure, FailureKind, SelfTestReport, TaskFacts, TrialResult, TrialSpec


def run_trial(spec: TrialSpec) -> TrialResult:
    """Trains and evaluates one network and returns what came of it; never raises an exception of the trial."""
    started = time.monotonic()
    spent: list[EnergyReport] = []
    try:
        from worker.trial import run  # torch is loaded here, on the worker only

        result = run(spec, spent.append)
    except Exception as error:  # noqa: BLE001 - a failed trial is a result
        result = TrialResult(
            study_id=spec.study_id,
            trial_id=spec.trial_id,
            attempt=spec.attempt,
            energy=spent[-1] if spent else None,
            failure=_as_failure(error),
        )
    return result.model_copy(
        update={
            "duration_seconds": time.monotonic() - started,
            "worker": f"{socket.gethostname()}:{getpid()}",
        }
    )


def inspect_task(dataset: str, network: str, data_dir: str | None = None, *, download: bool = False) -> TaskFacts:
    """Resolves the names of a study on this worker; fetches a missing data set only if `download` says so.

    Raises:
        ConfigurationError: a data set, its folder or a network that this worker does not have.
    """
    from worker.trial import inspect  # torch is loaded here, on the worker only

    return inspect(dataset, network, data_dir, download=download)


def self_test() -> SelfTestReport:
    """What this machine can measure, and how well; takes a few seconds."""
    from worker.energy.selftest import self_test as run  # torch is loaded here, on the worker only

    return run()


def _as_failure(error: Exception) -> Failure:
    return Failure(
        kind=_failure_kind(error),
        message=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
    )


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
