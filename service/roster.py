"""Who works at the moment: the workers of the cluster, and what the studies that run know of each."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from service.fleet import RESOURCES, Standing
from service.store import Store, Workers, WorkerStatus
from service.telemetry import show_slots, show_studies

# Readers take workers for gone that nobody has seen for much longer.
_WRITE_SECONDS = 10.0
_COUNT_SECONDS = 5.0


def roster(info: Mapping[str, Any], standings: Mapping[str, Mapping[str, Standing]]) -> list[WorkerStatus]:
    """All workers that can run trials, by address.

    Args:
        info: what the scheduler says of itself.
        standings: by study and address, what the studies that run know of workers.
    """
    found = [_status(address, worker, standings) for address, worker in sorted(info.get("workers", {}).items())]
    return [status for status in found if status is not None]


def _status(
    address: str, worker: Mapping[str, Any], standings: Mapping[str, Mapping[str, Standing]]
) -> WorkerStatus | None:
    resource = next((name for name in RESOURCES if worker["resources"].get(name, 0) >= 1), None)
    if resource is None:
        return None
    known = {study_id: of[address] for study_id, of in standings.items() if address in of}
    n_slots = int(worker["resources"][resource])
    n_executing = int(worker.get("metrics", {}).get("task_counts", {}).get("executing", 0))
    return WorkerStatus(
        address=address,
        name=str(worker.get("name", address)),
        resource=resource,
        n_slots=n_slots,
        n_running=min(n_slots, n_executing),
        device=next((standing.device for standing in known.values() if standing.device is not None), None),
        set_aside_by=tuple(sorted(study_id for study_id, standing in known.items() if standing.is_set_aside)),
    )


class Bulletin:
    """Tells others what is going on: workers by the store, how many of everything by telemetry.

    Args:
        store: where the workers are written down.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._workers = Workers(store)
        self._written: list[WorkerStatus] | None = None
        self._due = self._counted = -math.inf

    def tell(self, found: list[WorkerStatus], running: Iterable[str]) -> None:
        """Tells it: workers when something is new, or after ten seconds; counts every five seconds.

        Args:
            found: all workers.
            running: ids of the studies that run.
        """
        now = self._clock()
        show_slots(sum(worker.n_slots for worker in found), sum(worker.n_running for worker in found))
        if found != self._written or now >= self._due:
            self._workers.record(found)
            self._written, self._due = found, now + _WRITE_SECONDS
        if now >= self._counted + _COUNT_SECONDS:
            self._counted = now
            self._count(running)

    def _count(self, running: Iterable[str]) -> None:
        n_trials, total = self._store.n_trials_of_all(), Counter[str]()
        for n_by_state in n_trials.values():
            total.update(n_by_state)
        queued = sum(n_trials[study_id]["waiting"] for study_id in running if study_id in n_trials)
        show_studies(self._store.n_studies(), total, queued)
