"""Runs trials in processes of their own, kept warm, so that no end of a trial, however bad, is that of the worker."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache

from worker.errors import ChildError, ConfigurationError
from worker.messages import Describe, Described, Inspect, Inspected, Ready
from worker.process import ChildProcess
from worker.schema import (
    AnyTrialSpec,
    EpochMetrics,
    Failure,
    FailureKind,
    TaskDescription,
    TaskFacts,
    TrialResult,
)
from worker.supervision import Supervision, failed, messages

_START_SECONDS = 180.0
# Failures that leave a process as good as new: a diverged network has touched nothing but itself. After any other
# exception memory may be in pieces, or the CUDA context broken.
_HARMLESS = (FailureKind.CONFIGURATION, FailureKind.DIVERGED, FailureKind.CANCELLED, FailureKind.TIME_LIMIT)


class WarmChild:
    """A process that runs one trial, or answers one question, at a time.

    Attributes:
        is_reusable: it may be given the next trial.
    """

    def __init__(self) -> None:
        self.process = ChildProcess()
        self.is_reusable = True
        self._is_ready = False

    def run(
        self, spec: AnyTrialSpec, on_epoch: Callable[[EpochMetrics], None], should_stop: Callable[[], bool]
    ) -> TrialResult:
        """Runs a trial and returns what came of it, a failure where the process died or had to be killed."""
        self.process.forget()
        if not self._wait_until_ready(should_stop) or should_stop():
            return self._never_began(spec)
        trial = Supervision(self.process, spec, on_epoch, should_stop)
        result = trial.run()
        harmless = result.failure is None or result.failure.kind in _HARMLESS
        self.is_reusable = harmless and not trial.was_disturbed
        return result

    def ask(self, question: Inspect | Describe) -> Inspected | Described:
        """What the process answers.

        Raises:
            ConfigurationError: it does not have what it is asked for.
            ChildError: it died.
        """
        self.process.forget()
        if self._wait_until_ready(lambda: False):
            self.process.send(question)
            for message in messages(self.process):
                if isinstance(message, Inspected | Described):
                    if message.failure is not None:
                        raise ConfigurationError(message.failure.message)
                    return message
        self.is_reusable = False
        raise ChildError(f"{self.process.how_it_died()}\n{self.process.last_words}".strip())

    def _wait_until_ready(self, should_stop: Callable[[], bool]) -> bool:
        """Whether all is loaded; False where the process died, hung, or was to stop."""
        end = time.monotonic() + _START_SECONDS
        if self._is_ready:
            return True
        for message in messages(self.process):
            if isinstance(message, Ready):
                self._is_ready = True
                break
            if should_stop():
                break
            if time.monotonic() > end:
                self.process.kill()
        return self._is_ready

    def _never_began(self, spec: AnyTrialSpec) -> TrialResult:
        if self.process.is_alive():
            return failed(spec, Failure(kind=FailureKind.CANCELLED, message="the trial was stopped before it began"))
        self.is_reusable = False
        said = f"{self.process.how_it_died()} before the trial began"
        return failed(spec, Failure(kind=FailureKind.CRASHED, message=said, traceback=self.process.last_words))


class WarmChildren:
    """The idle processes of a worker: as many as it ever ran trials at a time."""

    def __init__(self) -> None:
        self._idle: list[WarmChild] = []
        self._lock = threading.Lock()
        # The kernel kills a child with the thread that started it, so that must be one which lasts.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="child-starter")

    @contextmanager
    def lend(self) -> Iterator[WarmChild]:
        """A process for one use; replaced afterwards, without waiting for the new one, where it is spoilt."""
        child = self._take()
        try:
            yield child
        except (ConfigurationError, ChildError):
            self._take_back(child)
            raise
        except BaseException:
            child.process.close()
            raise
        self._take_back(child)

    @property
    def pids(self) -> list[int]:
        """Process ids of those that are idle."""
        with self._lock:
            return [child.process.pid for child in self._idle]

    def close(self) -> None:
        """Ends all idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.process.close()
        self._starter.shutdown()

    def _take(self) -> WarmChild:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.process.is_alive():
                    return child
                child.process.close()
        return self._start()

    def _take_back(self, child: WarmChild) -> None:
        if not child.is_reusable:
            child.process.close()
            # The result that this trial has must not be lost because the next one will have no process.
            with suppress(OSError, RuntimeError):
                child = self._start()
        if child.is_reusable:
            with self._lock:
                self._idle.append(child)

    def _start(self) -> WarmChild:
        return self._starter.submit(WarmChild).result()


def run_isolated(
    spec: AnyTrialSpec, on_epoch: Callable[[EpochMetrics], None], should_stop: Callable[[], bool]
) -> TrialResult:
    """Runs a trial in a process of its own; see `worker.entry.run_trial`."""
    with _warm_children().lend() as child:
        return child.run(spec, on_epoch, should_stop)


def inspect_isolated(question: Inspect) -> TaskFacts:
    """Asks a process of its own; see `worker.entry.inspect_task`."""
    answer = _ask(question)
    assert isinstance(answer, Inspected) and answer.facts is not None
    return answer.facts


def describe_isolated(question: Describe) -> TaskDescription:
    """Asks a process of its own; see `worker.entry.describe_task`."""
    answer = _ask(question)
    assert isinstance(answer, Described) and answer.description is not None
    return answer.description


def _ask(question: Inspect | Describe) -> Inspected | Described:
    with _warm_children().lend() as child:
        return child.ask(question)


@lru_cache(maxsize=1)
def _warm_children() -> WarmChildren:
    """Those of this process, which outlive a trial."""
    children = WarmChildren()
    atexit.register(children.close)
    return children
