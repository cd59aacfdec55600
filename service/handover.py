"""A worker that is told to end leaves its scheduler only when its trial has said what it spent and where it stands.

Dask cancels what runs on a worker that closes before anything else, so the result of a trial that ends then goes
another way: as an event, under a topic of its own. And it closes before what runs has ended; but it takes
leave of plugins first, and waits for that. What ran on a worker that Dask retires it runs again by itself, elsewhere.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from distributed import Client, Worker, WorkerPlugin
from distributed.utils import sync

from worker.schema import TrialResult

_NAME = "greenshift-handover"
# Dask's nanny gives a worker four seconds to end where nobody says otherwise, and then kills it.
_SECONDS = 3.5
_LOOK_SECONDS = 0.02
_TELL_SECONDS = 3.0
# For the last word of a worker that is being retired.
_HEAR_SECONDS = 5.0
_BEGUN = "begun"
# When each was told, and what.
_Events = Sequence[tuple[float, str]]


@contextmanager
def handover(worker: Worker) -> Iterator[None]:
    """Meanwhile a trial runs, for whose end its worker waits before it leaves; called from the trial's own thread."""
    plugin = worker.plugins.get(_NAME)
    if not isinstance(plugin, _Handover):
        plugin = _Handover()
        sync(worker.loop, worker.plugin_add, plugin, name=_NAME, callback_timeout=60)
    with plugin.trial():
        yield


def begins(worker: Worker, topic: str) -> bool:
    """Whether no worker has begun with an attempt before this one, which then has."""
    with suppress(OSError, RuntimeError):  # a scheduler that is gone runs nothing again
        if _events(worker, topic):
            return False
        _log(worker, [topic], _BEGUN)
    return True


def word_of_another(worker: Worker, topic: str) -> TrialResult | None:
    """What another worker, which has begun with an attempt and is leaving, says of it; None where it says nothing."""
    end = time.monotonic() + _HEAR_SECONDS
    with suppress(OSError, RuntimeError):
        while time.monotonic() < end:
            if (word := _last(_events(worker, topic))) is not None:
                return word
            time.sleep(_LOOK_SECONDS)
    return None


def leave_word(worker: Worker, topics: Sequence[str], result: TrialResult) -> None:
    """Tells the scheduler what came of an attempt whose worker is closing; called inside of `handover`."""
    with suppress(OSError, RuntimeError):  # without a scheduler there is nobody to tell
        _log(worker, topics, result.model_dump_json())


def last_word(client: Client, topic: str) -> TrialResult | None:
    """What came of an attempt whose worker was told to end; None where nobody had the time to tell.

    Raises:
        OSError: the scheduler is gone.
    """
    scheduler = client.scheduler
    if scheduler is None:
        return None  # the client was closed meanwhile
    return _last(client.sync(scheduler.events, topic=topic, callback_timeout=_TELL_SECONDS))


def _log(worker: Worker, topics: Sequence[str], message: str) -> None:
    told = {"topic": list(topics), "msg": message}
    sync(worker.loop, worker.scheduler.log_event, callback_timeout=_TELL_SECONDS, **told)


def _events(worker: Worker, topic: str) -> _Events:
    events: _Events = sync(worker.loop, worker.scheduler.events, callback_timeout=_TELL_SECONDS, topic=topic)
    return events


def _last(events: _Events) -> TrialResult | None:
    words = [message for _, message in events if message != _BEGUN]
    return TrialResult.model_validate_json(words[-1]) if words else None


class _Handover(WorkerPlugin):
    def __init__(self) -> None:
        self._lock, self._n_running = threading.Lock(), 0

    @contextmanager
    def trial(self) -> Iterator[None]:
        with self._lock:
            self._n_running += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_running -= 1

    def setup(self, worker: Worker) -> None:
        """Leaves signals to the nanny: batch systems send them to all processes, and this one would die of them."""
        if worker.nanny and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # No SIG_IGN, which the processes that it starts would inherit.
                signal.signal(number, lambda _number, _frame: None)

    async def teardown(self, worker: Worker) -> None:
        end = time.monotonic() + _SECONDS
        while self._n_running and time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)
