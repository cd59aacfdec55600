"""What is known of the workers at the moment: written by who runs the studies, read by everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from service.store.reader import Reader
from service.store.tables import drains, workers


@dataclass(frozen=True)
class WorkerStatus:
    """One worker of the cluster.

    Attributes:
        address: by which the scheduler knows it.
        name: that it was given.
        resource: what it offers to trials, `GPU` or `CPU_SLOT`.
        n_slots: trials that it can run at once.
        n_running: of those, that run.
        device: model of GPU or processor; None until it has answered for some study.
        set_aside_by: ids of the running studies that give it no trial, because it failed or does not fit.
    """

    address: str
    name: str
    resource: str
    n_slots: int
    n_running: int
    device: str | None = None
    set_aside_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roster:
    """The workers as they were at `seen_at`; None where nobody has looked yet."""

    workers: list[WorkerStatus]
    seen_at: datetime | None


class Workers:
    """The workers in a store; they are no part of the log.

    Args:
        store: where they lie.
    """

    def __init__(self, store: Reader) -> None:
        self._database = store.database

    def record(self, found: Sequence[WorkerStatus]) -> None:
        """Puts `found` in the place of all that was known before."""
        document = {"workers": [asdict(worker) for worker in found]}
        row = {"seen_at": datetime.now(UTC), "roster": document}

        def replace(connection: Connection) -> None:
            connection.execute(delete(workers))
            connection.execute(insert(workers).values(row))

        self._database.write(replace)

    def latest(self) -> Roster:
        """What was recorded last."""
        query = select(workers).order_by(workers.c.seen_at.desc()).limit(1)
        for row in self._database.read(lambda c: c.execute(query).mappings().all()):
            return Roster([_worker(worker) for worker in row["roster"]["workers"]], row["seen_at"])
        return Roster([], None)

    def drain(self, name: str) -> None:
        """The worker of this name gets no new trial, whenever it is there, until `undrain`."""

        def add(connection: Connection) -> None:
            connection.execute(delete(drains).where(drains.c.worker == name))
            connection.execute(insert(drains).values(worker=name, at=datetime.now(UTC)))

        self._database.write(add)

    def undrain(self, name: str) -> None:
        """The worker of this name gets trials again; one that was not drained is left as it is."""
        self._database.write(lambda c: c.execute(delete(drains).where(drains.c.worker == name)))

    def drained(self) -> frozenset[str]:
        """Names of the workers that get no new trial, whether or not they are there."""
        return frozenset(self._database.read(lambda c: c.scalars(select(drains.c.worker)).all()))


def _worker(document: dict[str, Any]) -> WorkerStatus:
    return WorkerStatus(**document | {"set_aside_by": tuple(document["set_aside_by"])})
