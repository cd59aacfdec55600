"""Runs all studies of a store on one cluster, each with a coordinator of its own, for as long as the service lives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distributed import Client

from service.assembly import facts_of, make_coordinator, pin, settle, task_of
from service.coordinator import Coordinator
from service.demand import Demand
from service.dispatch import DaskDispatcher
from service.earlier import front_in_store
from service.errors import ClusterLostError, DamagedError, NoWorkerError, ServiceError
from service.fleet import Standing, identity_of, want
from service.roster import Bulletin, roster
from service.schema import Study, StudyState
from service.sharing import SharedDispatcher, Shares
from service.store import Store, Workers
from service.telemetry import show_connection
from service.warmstart import needs_front

logger = logging.getLogger(__name__)
_TO_RUN = (StudyState.WAITING, StudyState.RUNNING, StudyState.PAUSED)
_ENDED = (StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED)
# How often to look for studies.
_WAKE_SECONDS = 1.0
_MAX_PAUSE_SECONDS = 30.0
# For coordinators to record what has come; one that waits for workers is not waited for.
_LEAVE_SECONDS = 5.0


@dataclass(frozen=True)
class Places:
    """Where workers leave files: paths or URLs that they all see.

    Attributes:
        models: folder of trained weights, one below it for each study.
        checkpoints: of trials that others go on from.
    """

    models: Path
    checkpoints: str


class Supervisor:
    """Starts a coordinator for every study that is to run, and connects to the cluster again where it was lost.

    Args:
        store: where studies appear.
        connect: a client of the cluster, for the time of a `with` block.
        places: of files.
        durable: the cluster outlives this process, so that trials which run at the end are left to the next one.
    """

    def __init__(
        self, store: Store, connect: Callable[[], AbstractContextManager[Client]], places: Places, *, durable: bool
    ) -> None:
        self._store, self._connect, self._places, self._durable = store, connect, places, durable
        self._stopping = threading.Event()
        self.is_connected = False

    def stop(self) -> None:
        """Makes `run` return soon; studies stay as they are, for the next supervisor to go on with."""
        self._stopping.set()

    def run(self) -> None:
        """Runs until `stop`, or until the store is damaged."""
        pause = 1.0
        while not self._stopping.is_set():
            try:
                with self._connect() as client:
                    self.is_connected, pause = True, 1.0
                    show_connection(True)
                    self._serve(_Session(self._store, client, self._places, durable=self._durable))
            except DamagedError:
                return  # whoever opened the store sees that, and ends
            except ServiceError as error:
                logger.warning("no study runs: %s; trying again in %.0f s", error, pause)
                with suppress(ServiceError):  # what is lost may be the store
                    for state in _TO_RUN:
                        for study in self._store.studies(state):
                            _stop_if_asked(self._store, study)
            self.is_connected = False
            show_connection(False)
            self._stopping.wait(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    def _serve(self, session: _Session) -> None:
        try:
            while not self._stopping.is_set():
                session.look()
                self._stopping.wait(_WAKE_SECONDS)
        finally:
            session.close()


class _Session:
    """All studies that run, for as long as one client of the cluster lives."""

    def __init__(self, store: Store, client: Client, places: Places, *, durable: bool) -> None:
        self._store, self._client, self._places, self._durable = store, client, places, durable
        self._shares, self._bulletin, self._workers = Shares(), Bulletin(store), Workers(store)
        self._demand = Demand(store, partial(want, client))
        self._drained: frozenset[str] = frozenset()
        self._runs: dict[str, _Run] = {}
        # Why studies wait, as it was said last: they are tried every second.
        self._waits: dict[str, str] = {}

    def look(self) -> None:
        """Starts what is to run and has not been started, and takes out what has ended.

        Raises:
            ClusterLostError: a coordinator says so.
        """
        for study_id, run in list(self._runs.items()):
            if not run.is_alive():
                del self._runs[study_id]
                self._say_waits(study_id, run.waits)
                if run.is_cluster_lost:
                    raise ClusterLostError("the Dask scheduler is gone")
        if self._client.status == "closed":
            raise ClusterLostError("the Dask scheduler is gone")
        self._drained = self._workers.drained()
        for study in self._to_run():
            if study.study_id not in self._runs:
                self._start(study)
        standings = {study_id: run.standings() for study_id, run in self._runs.items()}
        # A scheduler that does not answer has not lost its workers, and nobody must act as if it had.
        if identity := identity_of(self._client):
            found = roster(identity, standings)
            self._bulletin.tell(found, self._runs)
            self._demand.tell(found, self._drained)

    def _say_waits(self, study_id: str, why: str) -> None:
        if why and why != self._waits.get(study_id):
            logger.info("study %s waits: %s", study_id, why)
        self._waits[study_id] = why

    def close(self) -> None:
        """Lets every study stand as it is."""
        for run in self._runs.values():
            run.leave()
        end = time.monotonic() + _LEAVE_SECONDS
        for run in self._runs.values():
            run.join(max(0.0, end - time.monotonic()))

    def _to_run(self) -> list[Study]:
        return [study for state in _TO_RUN for study in self._store.studies(state)]

    def _start(self, study: Study) -> None:
        make = partial(DaskDispatcher, self._client, durable=self._durable, is_drained=self._is_drained)
        run = _Run(study, self._store, make, self._places, self._shares, durable=self._durable)
        self._runs[study.study_id] = run
        run.start()

    def _is_drained(self, worker: str) -> bool:
        return worker in self._drained


class _Run(threading.Thread):
    """One study on a thread of its own.

    Attributes:
        is_cluster_lost: it ended for that.
        waits: for what, where it ended for that; empty where it did not.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        connect: Callable[[], DaskDispatcher],
        places: Places,
        shares: Shares,
        *,
        durable: bool,
    ) -> None:
        super().__init__(daemon=True, name=f"study-{study.study_id}")
        self._study, self._store, self._connect, self._shares = study, store, connect, shares
        self._places, self._durable = places, durable
        self._coordinator: Coordinator | None = None
        self._dispatcher: DaskDispatcher | None = None
        self._is_left = False
        self.is_cluster_lost = False
        self.waits = ""

    def leave(self) -> None:
        """Makes the thread end soon."""
        self._is_left = True
        if self._coordinator is not None:
            self._coordinator.leave()

    def standings(self) -> dict[str, Standing]:
        """What the study knows of each worker, by address."""
        return {} if self._dispatcher is None else self._dispatcher.standings()

    def run(self) -> None:
        """Runs the study to its end; what it cannot be is said in the store."""
        study_id = self._study.study_id
        self._shares.join(study_id, self._study.spec.weight, self._wake)
        try:
            self._coordinator = self._make()
            if self._is_left:
                return
            logger.info("study %s (%s) is taken up: %s", study_id, self._study.spec.name, self._stand())
            if self._coordinator.run() in _ENDED:
                logger.info("study %s is %s", study_id, self._store.study(study_id).standing)
        except ClusterLostError:
            self.is_cluster_lost = True
        except DamagedError:
            pass  # nothing can be said in the store, and the supervisor meets the same
        except NoWorkerError as error:
            self.waits = str(error)
            _stop_if_asked(self._store, self._study)
        except Exception as error:
            if self._is_left:
                return  # whatever it was waiting for has been closed
            logger.warning("study %s failed: %s", study_id, error, exc_info=not isinstance(error, ServiceError))
            if self._store.study(study_id).state is not StudyState.FAILED:
                self._store.set_study_state(study_id, StudyState.FAILED, str(error))
        finally:
            self._shares.leave(study_id)

    def _stand(self) -> str:
        """Its state as it was found, and how many trials it has."""
        n_trials = self._store.n_trials(self._study.study_id)
        counts = ", ".join(f"{n} {state}" for state, n in n_trials.items() if n)
        return f"{self._study.state}, {counts or 'no'} trials"

    def _make(self) -> Coordinator:
        study, store = self._study, self._store
        own = self._dispatcher = self._connect()
        dispatcher = SharedDispatcher(own, self._shares, study.study_id)
        facts = facts_of(study, store, dispatcher, task_of(study.spec), wait=not self._durable)
        study = settle(study, store, facts)
        pin(study, store, dispatcher, facts)
        return make_coordinator(
            study,
            store,
            dispatcher,
            facts,
            earlier=front_in_store(store, str(study.spec.warm_start)) if needs_front(study, store) else None,
            models_dir=str(self._places.models / study.study_id),
            checkpoints=self._places.checkpoints,
        )

    def _wake(self) -> None:
        if self._coordinator is not None:
            self._coordinator.wake()


def _stop_if_asked(store: Store, study: Study) -> None:
    """Stops a study that has no coordinator to do it; everything else waits until it has one."""
    requests = store.requests(study.study_id, store.answered(study.study_id))
    stops = [request for request in requests if request.kind == "stop"]
    if stops:
        store.answer(stops[-1], "done")
        store.end_study(study.study_id, StudyState.STOPPED, "stopped by the user", stops[-1].seq)
