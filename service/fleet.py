"""The workers of a Dask cluster: which of them may run the trials of a study, and how many at once."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.scheduler import KilledWorker
from distributed.versions import get_versions

from service.errors import ClusterLostError, InputError, NoWorkerError, ServiceError
from worker.schema import AnyFacts, FailureKind

logger = logging.getLogger(__name__)
# A worker offers one of these, once for each trial that it may run at a time.
RESOURCES = ("GPU", "CPU_SLOT")
# So many failures in a row, of different trials, speak against the worker and not against their configs.
MAX_FAILURES = 3
_FAULTS_OF_WORKERS = (FailureKind.CRASHED, FailureKind.OUT_OF_MEMORY, FailureKind.CONFIGURATION)
# Whoever asks again so soon is told the same: one round of a coordinator asks a dozen times.
_FRESH_SECONDS = 0.1
# Before any trial that waits: without an answer a worker gets none.
_PRIORITY = 1000
# What must be the same everywhere -> how many parts of its version count; None is all of them.
_VERSIONS = {"greenshift": 2, "python": 2, "distributed": None}
# Dask tells of the others unasked.
_NOT_DASKS = ["greenshift"]
# What a client raises that has lost its scheduler, is closed, or whose loop is; the last where it is closed while it
# waits for an answer: a call that its loop cancels has neither result nor error.
UNREACHABLE = (OSError, ClosedClientError, RuntimeError, UnboundLocalError)
_GONE = "the Dask scheduler is gone; the same command goes on once it is back"
_T = TypeVar("_T")


@contextmanager
def expected_scheduler() -> Iterator[None]:
    """What cannot be sent or found because the scheduler has gone meanwhile ends no study: it goes on later.

    Raises:
        ClusterLostError: the scheduler is gone.
    """
    try:
        yield
    except UNREACHABLE as error:
        raise ClusterLostError(f"{_GONE}: {error}") from error


def identity_of(client: Client) -> dict[str, Any]:
    """What the scheduler says of itself and of all its workers; nothing where it does not answer.

    A client's own `scheduler_info` hands out the latest answer to anybody in the process, and every two seconds that
    is one to Dask itself, which leaves the workers out: then none seems to be there.
    """
    found: dict[str, Any] = client.sync(_ask_identity, client)
    return found


async def _ask_identity(client: Client) -> dict[str, Any]:
    if client.status not in ("running", "connecting") or client.scheduler is None:
        return {}
    try:
        found: dict[str, Any] = await client.scheduler.identity(n_workers=-1)
    except OSError:
        return {}
    return found


def want(client: Client, n_workers: int, seconds: float = 60.0) -> None:
    """Makes the scheduler ask for at least so many workers: who starts some asks it, as the Dask operator does.

    A scheduler that does not answer, or is of other versions, is left as it is.

    Args:
        client: of the cluster.
        n_workers: those that are there included.
        seconds: after which it asks for what it would by itself: who is gone keeps no machine.
    """

    def raise_target(dask_scheduler: Any) -> None:
        dask_scheduler.greenshift_wants = n_workers, time.monotonic() + seconds
        if hasattr(dask_scheduler, "greenshift_own_target"):
            return
        own = dask_scheduler.greenshift_own_target = dask_scheduler.adaptive_target

        def adaptive_target(*arguments: Any, **options: Any) -> int:
            n_wanted, until = dask_scheduler.greenshift_wants
            return max(int(own(*arguments, **options)), n_wanted if time.monotonic() < until else 0)

        dask_scheduler.adaptive_target = dask_scheduler.handlers["adaptive_target"] = adaptive_target

    with suppress(*UNREACHABLE):
        # Sent by value, as it need not have this program; another Python might not understand it.
        if not _difference_of_scheduler(client):
            client.run_on_scheduler(raise_target)


def _difference_of_scheduler(client: Client) -> str:
    """The first difference between its versions and ours in words; empty where there is none.

    Raises:
        OSError: it does not answer.
    """
    scheduler = client.scheduler
    if scheduler is None:
        raise OSError("the client is closed")
    return _difference(_versions(), _versions(client.sync(scheduler.versions, packages=_NOT_DASKS)))


@dataclass(frozen=True)
class Standing:
    """What a study knows of a worker: the model of its device, and whether it gets no trial."""

    device: str | None
    is_set_aside: bool


class Fleet:
    """Workers that have answered for the study, are of its model of device, and have not failed again and again.

    Args:
        client: connected to the scheduler.
        is_drained: whether a worker, by its name, is to get no new trial at the moment.

    Attributes:
        resource: that a trial takes one unit of: `GPU`, or `CPU_SLOT` where no worker offers a GPU.

    Raises:
        InputError: the scheduler runs other versions than this process.
        NoWorkerError: no worker offers either resource.
    """

    def __init__(self, client: Client, is_drained: Callable[[str], bool] = lambda _: False) -> None:
        self._client, self._is_drained = client, is_drained
        self._scheduler_id: str | None = None
        self._known: dict[str, Any] = {}
        self._known_until, self._known_for = 0.0, (None, 0)
        self._n_lost = 0
        self.resource = self._pick_resource()
        self._inquiry: _Inquiry | None = None
        self._device: str | None = None
        self._n_failures: Counter[str] = Counter()

    def inspect(self, question: Callable[[], AnyFacts]) -> AnyFacts:
        """Asks all workers what they know of a study and returns the first answer; newcomers are asked as they come.

        A worker that does not know the study's names, or runs other versions, is given none of its trials.

        Raises:
            InputError: no worker knows the names; says what the first one missed.
            NoWorkerError: no worker lived to answer.
        """
        inquiry = _Inquiry(self._client, self.resource, question, is_awaited=True)
        inquiry.ask(self._offers())
        facts = inquiry.first()
        self._inquiry = inquiry
        return facts

    def expect(self, question: Callable[[], AnyFacts]) -> None:
        """As `inspect`, without waiting for an answer."""
        self._inquiry = _Inquiry(self._client, self.resource, question, is_awaited=False)
        self._inquiry.ask(self._offers())

    def pin(self, device: str) -> None:
        """Trials run only where the device is of this model from now on."""
        self._device = device

    def n_slots(self) -> int:
        """How many trials can run at once, now, those included that a drained worker still runs.

        Raises:
            ClusterLostError: the scheduler is gone.
        """
        offers = self._offers()
        if self._inquiry is not None:
            with expected_scheduler():
                self._inquiry.ask(offers)
        return sum(n for address, n in offers.items() if self._may_work(address)) + self._n_draining()

    def addresses(self) -> list[str] | None:
        """Where a trial may run; None is anywhere, as long as nobody has been asked."""
        return None if self._inquiry is None else [a for a in self._offers() if self._may_work(a)]

    def alive(self) -> set[str]:
        """Addresses of all workers that are there, whether or not they may work for this study."""
        return set(self._workers())

    def standings(self) -> dict[str, Standing]:
        """What is known of each worker that has been asked."""
        inquiry = self._inquiry
        return {} if inquiry is None else {address: self._standing(address, inquiry) for address in inquiry.answered()}

    def heed(self, address: str, failure: FailureKind | None) -> None:
        """Learns how a trial on a worker ended; sets the worker aside after too many failures in a row."""
        if failure is FailureKind.WORKER_LOST:
            self._n_lost += 1
        elif failure is None:
            self._n_failures[address] = 0
        elif failure in _FAULTS_OF_WORKERS:
            self._n_failures[address] += 1
            if self._n_failures[address] == MAX_FAILURES:
                logger.warning(
                    "worker %s is set aside after %d failed trials in a row; the last one: %s",
                    address, MAX_FAILURES, failure,
                )  # fmt: skip

    def _standing(self, address: str, inquiry: _Inquiry) -> Standing:
        facts = inquiry.facts.get(address)
        return Standing(None if facts is None else facts.device, not self._may_work(address))

    def _may_work(self, address: str) -> bool:
        if self._n_failures[address] >= MAX_FAILURES:
            return False
        if self._inquiry is None:
            return True
        facts = self._inquiry.facts.get(address)
        return facts is not None and self._device in (None, facts.device)

    def _pick_resource(self) -> str:
        workers = self._workers().values()
        for resource in RESOURCES:
            if any(worker["resources"].get(resource, 0) >= 1 for worker in workers):
                return resource
        raise NoWorkerError(
            f"no Dask worker offers a resource {' or '.join(RESOURCES)}; start one with `greenshift worker ADDRESS`"
        )

    def _offers(self, *, drained: bool = False) -> dict[str, int]:
        """Units of the resource by the address of the worker: of those that are drained, or of all others."""
        workers = {a: w for a, w in self._workers().items() if self._is_drained(_name(a, w)) is drained}
        offers = {address: int(worker["resources"].get(self.resource, 0)) for address, worker in workers.items()}
        return {address: n for address, n in offers.items() if n > 0}

    def _n_draining(self) -> int:
        """Trials that drained workers still run: they count as running, and so must the slots that they take."""
        offers = self._offers(drained=True)
        if not offers:
            return 0
        with suppress(OSError, RuntimeError):  # a scheduler that does not answer is noticed elsewhere
            tasks: dict[str, Any] = self._client.processing(workers=list(offers))
            return sum(min(n, len(tasks.get(address, ()))) for address, n in offers.items())
        return 0

    def _workers(self) -> dict[str, Any]:
        if self._client.status == "closed":
            raise ClusterLostError(_GONE)
        # Another connection may be one to another scheduler; who was lost with a trial must not be given the next.
        known_for: Any = self._client.scheduler_comm, self._n_lost
        if time.monotonic() < self._known_until and known_for == self._known_for:
            return self._known
        info = identity_of(self._client)
        if info.get("id", self._scheduler_id) != self._scheduler_id:
            with expected_scheduler():
                self._meet(info["address"])
            self._scheduler_id = info["id"]
        # A scheduler that does not answer has not lost its workers.
        self._known, self._known_for = info.get("workers", self._known), known_for
        self._known_until = time.monotonic() + _FRESH_SECONDS
        return self._known

    def _meet(self, address: str) -> None:
        """Makes sure of a scheduler, which may be another one after a loss: by itself it runs lost tasks again.

        The function is sent to it by value, as it need not have this program; hence its versions come first.
        """
        if different := _difference_of_scheduler(self._client):
            raise InputError(f"scheduler: {address} has {different}")
        self._client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))


def _name(address: str, worker: Mapping[str, Any]) -> str:
    """What a worker is called; one that was given no name has its address for one."""
    return str(worker.get("name", address))


class _Inquiry:
    """One question to every worker, each asked once, and only if its versions are ours.

    Args:
        client: of the cluster.
        resource: that the workers offer.
        question: runs on the worker.
        is_awaited: somebody waits for the first answer and says if there is none.

    Attributes:
        facts: what those know that have answered.
    """

    def __init__(self, client: Client, resource: str, question: Callable[[], AnyFacts], *, is_awaited: bool) -> None:
        self._client, self._resource, self._question, self._is_awaited = client, resource, question, is_awaited
        self._asked: set[str] = set()
        # Held while they are open, else Dask forgets them, and not longer, else Dask would compute them again.
        self._open: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()
        self._answers: SimpleQueue[AnyFacts | ServiceError] = SimpleQueue()
        self.facts: dict[str, AnyFacts] = {}
        self._refusals: dict[str, ServiceError] = {}

    def ask(self, addresses: dict[str, int]) -> None:
        """Asks those that have not been asked."""
        with self._lock:
            for address in addresses.keys() - self._asked:
                self._asked.add(address)
                # A function of Dask's own: another version of this program might not even have ours, and die of it.
                self._submit(address, partial(get_versions, _NOT_DASKS), self._hear_versions)

    def _submit(self, address: str, question: Callable[[], _T], hear: Callable[[str, Future[_T]], None]) -> None:
        future = self._client.submit(
            question,
            pure=False,
            workers=[address],
            allow_other_workers=False,
            resources={self._resource: 1},
            priority=_PRIORITY,
        )
        self._open[address] = future
        future.add_done_callback(lambda future: hear(address, future))

    def answered(self) -> set[str]:
        """Addresses of those that have answered, or failed to."""
        with self._lock:
            return self._asked - self._open.keys()

    def first(self) -> AnyFacts:
        """The first answer.

        Raises:
            ServiceError: every worker that was asked has failed; the first failure.
        """
        refusals: list[ServiceError] = []
        while len(refusals) < len(self._asked):
            answer = self._answers.get()
            if isinstance(answer, AnyFacts):
                return answer
            refusals.append(answer)
        raise refusals[0] if refusals else NoWorkerError("no worker is there to be asked")

    def _hear_versions(self, address: str, future: Future[dict[str, Any]]) -> None:
        found = _answer_of(future)
        if isinstance(found, ServiceError):
            self._refuse(address, found)
        elif different := _difference(_versions(), _versions(found)):
            self._refuse(address, InputError(f"it has {different}"))
        else:
            try:
                self._submit(address, self._question, self._hear)
            except (OSError, ClosedClientError) as error:
                self._refuse(address, ServiceError(str(error)))

    def _hear(self, address: str, future: Future[AnyFacts]) -> None:
        answer = _answer_of(future)
        if isinstance(answer, ServiceError):
            self._refuse(address, answer)
            return
        self.facts[address] = answer
        self._open.pop(address, None)
        self._say_refusals()
        self._answers.put(answer)

    def _refuse(self, address: str, why: ServiceError) -> None:
        self._open.pop(address, None)
        self._refusals[address] = why
        self._say_refusals()
        self._answers.put(why)

    def _say_refusals(self) -> None:
        """Where no worker knows the study, the first refusal is the error, and is said once."""
        if self._client.status in ("closing", "closed"):
            return  # a study that has ended lets go of those that were still asked
        while self._refusals and (self.facts or not self._is_awaited):
            logger.warning("worker %s gets no trial of this study: %s", *self._refusals.popitem())


def _answer_of(future: Future[_T]) -> _T | ServiceError:
    """What a worker said, or the error that its answer means here."""
    try:
        answer: _T = future.result(timeout=60)
    except ValueError as error:
        return InputError(str(error))
    except (KilledWorker, FutureCancelledError):
        return NoWorkerError("the worker was lost before the first trial")
    except Exception as error:  # noqa: BLE001 - whatever a worker raised, the others may still answer
        return ServiceError(str(error) or type(error).__name__)
    return answer


def _versions(found: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What counts of the versions here, or of those that Dask has `found` elsewhere; without what is not installed."""
    packages = (found or get_versions(_NOT_DASKS))["packages"]
    return {name: ".".join(packages[name].split(".")[:n]) for name, n in _VERSIONS.items() if packages.get(name)}


def _difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """The first difference in words; empty where there is none. What only one of them has does not count."""
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            return f"{name} {theirs[name]}, and here is {ours[name]}; both must be the same"
    return ""
