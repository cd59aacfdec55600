"""Keeps the processes of workers up: one that ends, for whatever reason, is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue

from service.errors import ServiceError
from service.workers import end_worker

_LOOK_SECONDS = 0.2
# A worker that lived so long was well; the next one need not wait.
_WELL_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 30.0
# Dask's nanny gives its worker eight seconds to end, and then kills it.
_GRACE_SECONDS = 15.0

Start = Callable[[], subprocess.Popen[bytes]]
Say = Callable[[str], None]


class Upkeep:
    """Runs workers until it is told to stop.

    A Dask worker ends, with exit code 0, when its scheduler does, and never comes back by itself.

    Args:
        starts: how each worker is started, by its name; one that cannot be is tried again like one that has ended.
        say: is given a line about each start and end.
    """

    def __init__(self, starts: Mapping[str, Start], say: Say) -> None:
        self._workers = [KeptUp(name, start, say) for name, start in starts.items()]
        self._say = say
        # Its put may be called from a signal handler in the middle of a get.
        self._stops: SimpleQueue[None] = SimpleQueue()

    def stop(self) -> None:
        """Makes `run` end the workers and return, from any thread or a signal handler; twice, without mercy."""
        self._stops.put(None)

    def run(self) -> None:
        """Returns after `stop`, when no worker is left. The workers die with the thread that calls this."""
        try:
            while not self._is_stopped(_LOOK_SECONDS):
                for worker in self._workers:
                    worker.look(time.monotonic())
            self._ask_to_end()
        finally:
            for worker in self._workers:
                worker.kill()

    def _ask_to_end(self) -> None:
        """Lets the workers give back their trials."""
        left = [worker for worker in self._workers if worker.ask_to_end()]
        self._say(f"telling {len(left)} workers to end; a second signal kills them")
        end = time.monotonic() + _GRACE_SECONDS
        while any(worker.is_alive for worker in left) and time.monotonic() < end:
            if self._is_stopped(_LOOK_SECONDS):
                return

    def _is_stopped(self, seconds: float) -> bool:
        with suppress(Empty):
            self._stops.get(timeout=seconds)
            return True
        return False


@contextmanager
def kept_up(starts: Mapping[str, Start], say: Say) -> Iterator[None]:
    """Keeps workers up meanwhile, on a thread of its own; on leaving they are killed.

    Args:
        starts: how each worker is started, by its name.
        say: is given a line about each end that nobody wanted.
    """
    workers = [KeptUp(name, start, say, say_start=lambda _: None) for name, start in starts.items()]
    leaving = threading.Event()

    def keep() -> None:
        while not leaving.is_set():
            for worker in workers:
                worker.look(time.monotonic())
            leaving.wait(_LOOK_SECONDS)
        for worker in workers:
            worker.kill()

    # Workers die with the thread that starts them, and this one with the process.
    thread = threading.Thread(target=keep, daemon=True, name="upkeep")
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join()


class KeptUp:
    """One worker, of which there is a process now or will be again.

    Args:
        name: of the worker.
        start: makes a process.
        say: is given a line about each end.
        say_start: is given a line about each start; None is `say`.
    """

    def __init__(self, name: str, start: Start, say: Say, say_start: Say | None = None) -> None:
        self._name, self._start, self._say, self._say_start = name, start, say, say_start or say
        self._process: subprocess.Popen[bytes] | None = None
        self._n_failures = 0
        self._started = 0.0
        self._due = 0.0

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def look(self, now: float) -> None:
        """Takes notice of an end, and starts a process where one is due."""
        if self._process is not None and not self.is_alive:
            code, self._process = self._process.returncode, None
            self._ended(f"ended with code {code}", now)
        if self._process is None and now >= self._due:
            self._started = now
            try:
                self._process = self._start()
            except (OSError, ServiceError) as error:
                self._ended(f"cannot be started: {error}", now)
            else:
                self._say_start(f"{self._name}: started, process {self._process.pid}")

    def ask_to_end(self) -> bool:
        """Whether there was anybody to be asked."""
        if self._process is None or not self.is_alive:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)
        return True

    def kill(self) -> None:
        if self._process is not None:
            end_worker(self._process)

    def _ended(self, how: str, now: float) -> None:
        self._n_failures = 0 if now - self._started > _WELL_SECONDS else self._n_failures + 1
        seconds = pause_seconds(self._n_failures)
        self._due = now + seconds
        self._say(f"{self._name}: {how}; starting again in {seconds:g} s")


def pause_seconds(n_failures: int) -> float:
    """How long to wait before the next start: 1 s after a long life, then 1, 2, 4, ... and at most 30 s.

    Args:
        n_failures: short lives in a row, 0 or more.
    """
    return min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(10, max(0, n_failures - 1)))
