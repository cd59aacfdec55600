"""A worker that is told to end leaves its scheduler only when its trial has left its training behind.

Dask tells the scheduler first and waits for what runs afterwards: the next attempt would begin before there is anything
to go on from. It takes leave of plugins before either, and waits for that.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Worker, WorkerPlugin
from distributed.utils import sync

_NAME = "greenshift-handover"
# Dask's nanny gives a worker four seconds to end, and then kills it.
_SECONDS = 3.5
_LOOK_SECONDS = 0.02


@contextmanager
def handover(worker: Worker) -> Iterator[None]:
    """Meanwhile a trial runs, for whose end its worker waits before it leaves; called from the trial's own thread."""
    plugin = worker.plugins.get(_NAME)
    if not isinstance(plugin, _Handover):
        plugin = _Handover()
        sync(worker.loop, worker.plugin_add, plugin, name=_NAME, callback_timeout=60)
    with plugin.trial():
        yield


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

    async def teardown(self, worker: Worker) -> None:
        end = time.monotonic() + _SECONDS
        while self._n_running and time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)
