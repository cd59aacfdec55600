"""What a client does, step by step and whoever takes the steps: each call is a generator of requests and pauses."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2

from service.client.connection import failure, parsed, unreachable
from service.errors import InputError, NotFoundError, UnreachableError
from service.findings import (
    HistoryDocument,
    ImportanceDocument,
    LayersDocument,
    PaybackDocument,
    RungsDocument,
    TimelineDocument,
)
from service.schema import StudySpec, StudyState, Trial, TrialState
from service.wire import (
    API,
    Asked,
    Drain,
    EpochPoint,
    Health,
    LedgerDocument,
    Preset,
    RequestKind,
    StudiesPage,
    StudyDocument,
    StudyStatus,
    StudySummary,
    TrialsPage,
    WorkersDocument,
)

T = TypeVar("T")
ENDED = (StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED)
# For a service that starts again while somebody waits for it.
PATIENCE_SECONDS = 60.0
_PAGE = 500
_POLL_SECONDS = 1.0
# Before a request is sent again whose answer was lost, or that came too often.
_PAUSES = (0.2, 1.0, 3.0)


@dataclass(frozen=True)
class Send:
    """A request; sent again where its answer is lost if it is `repeatable`: twice is as good as once."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


@dataclass(frozen=True)
class Pause:
    """Some seconds in which nothing happens."""

    seconds: float


# A step is answered by a response, or by why there is none; a pause by nothing.
Outcome = httpx2.Response | httpx2.TransportError | None
Steps = Generator[Send | Pause, Outcome, T]


def exchange(send: Send) -> Steps[httpx2.Response]:
    """The answer to a request.

    Raises:
        ServiceError: the service refuses, in its own words, or does not answer.
    """
    pauses = list(_PAUSES) if send.repeatable else []
    is_first = True
    while True:
        outcome = yield send
        again = _before_again(outcome, is_first)
        is_first = False
        if again is not None and pauses:
            yield Pause(max(pauses.pop(0), again))
        elif isinstance(outcome, httpx2.Response):
            if outcome.is_success:
                return outcome
            raise failure(outcome)
        else:
            assert outcome is not None
            raise unreachable(outcome.request.url, outcome) from outcome


def _before_again(outcome: Outcome, is_first: bool) -> float | None:
    """Seconds to wait at least before the same request may succeed; None where it would not."""
    if isinstance(outcome, httpx2.Response):
        if outcome.status_code not in (429, 503):
            return None
        wait = outcome.headers.get("Retry-After", "")
        return min(float(wait), 10.0) if wait.isdecimal() else 0.0
    # Where nobody listens nobody will soon, unless somebody did a moment ago.
    is_hopeless = isinstance(outcome, httpx2.TimeoutException | httpx2.UnsupportedProtocol)
    return None if is_hopeless or (is_first and isinstance(outcome, httpx2.ConnectError)) else 0.0


def get(path: str, kind: type[T], **params: Any) -> Steps[T]:
    """What lies at a path of the API, as `kind`."""
    given = {name: value for name, value in params.items() if value is not None}
    return parsed((yield from exchange(Send("GET", f"{API}{path}", given))), kind)


def submit(study: str | Path | dict[str, Any] | StudySpec, overrides: Mapping[str, Any]) -> Steps[StudyDocument]:
    """Submits a study, once, however often its answer is lost."""
    document = _document(study, overrides)
    send = Send("POST", f"{API}/studies", json=document, headers={"Idempotency-Key": uuid.uuid4().hex})
    return parsed((yield from exchange(send)), StudyDocument)


def _document(study: str | Path | dict[str, Any] | StudySpec, overrides: Mapping[str, Any]) -> dict[str, Any]:
    source = study if isinstance(study, dict | StudySpec) else str(study)
    spec = source if isinstance(source, StudySpec) else StudySpec.load(source)
    document = spec.model_dump(mode="json")
    changes = dict(overrides)
    if "n_trials" in changes:
        document["budget"]["n_trials"] = changes.pop("n_trials")
    return StudySpec.load(document | changes).model_dump(mode="json")


def find(study: str) -> Steps[StudyDocument]:
    """The study with this id, or the only one of this name.

    Raises:
        NotFoundError: there is none.
        InputError: several have this name.
    """
    if study.isascii() and study.isalnum() and len(study) <= 32:
        try:
            return (yield from show(study))
        except NotFoundError:
            pass
    page = yield from get("/studies", StudiesPage, name=study[:100], limit=10)
    if not page.items:
        raise NotFoundError(f"study: there is none with the id or the name {study!r}")
    if len(page.items) > 1:
        ids = ", ".join(found.study_id for found in page.items)
        raise InputError(f"study: several have the name {study!r}; name one by its id: {ids}")
    return (yield from show(page.items[0].study_id))


def show(study_id: str) -> Steps[StudyDocument]:
    """A study with its spec."""
    return (yield from get(of(study_id), StudyDocument))


def studies() -> Steps[list[StudySummary]]:
    """All studies, the newest first."""
    found: list[StudySummary] = []
    after = None
    while True:
        page = yield from get("/studies", StudiesPage, after=after, limit=_PAGE)
        found += page.items
        after = page.next
        if after is None:
            return found


def trials(study_id: str, state: TrialState | None) -> Steps[list[Trial]]:
    """All trials as they are now, in the order of their last events."""
    found: dict[str, Trial] = {}
    after: int | None = 0
    while after is not None:
        page = yield from get(of(study_id, "trials"), TrialsPage, state=state, after=after, limit=_PAGE)
        for trial in page.items:
            # What has changed in the meantime comes again, at the end.
            found.pop(trial.trial_id, None)
            found[trial.trial_id] = trial
        after = page.next
    return list(found.values())


def status(study_id: str) -> Steps[dict[str, Any]]:
    """How far a study is."""
    found = yield from get(of(study_id, "status"), StudyStatus)
    return found.model_dump(mode="json")


def front(study_id: str) -> Steps[list[Trial]]:
    """The trials that no other dominates."""
    return (yield from get(of(study_id, "front"), list[Trial]))


def trial(study_id: str, trial_id: str) -> Steps[Trial]:
    """One trial."""
    return (yield from get(of(study_id, "trials", trial_id), Trial))


def epochs(study_id: str, trial_id: str) -> Steps[list[EpochPoint]]:
    """What each epoch of a trial came to."""
    return (yield from get(of(study_id, "trials", trial_id, "epochs"), list[EpochPoint]))


def layers(study_id: str, trial_id: str) -> Steps[LayersDocument]:
    """The layers of a trained network."""
    return (yield from get(of(study_id, "trials", trial_id, "layers"), LayersDocument))


def ledger(study_id: str) -> Steps[LedgerDocument]:
    """All energy that a study has spent."""
    return (yield from get(of(study_id, "ledger"), LedgerDocument))


def history(study_id: str) -> Steps[HistoryDocument]:
    """How the front of a study grew."""
    return (yield from get(of(study_id, "history"), HistoryDocument))


def timeline(study_id: str) -> Steps[TimelineDocument]:
    """The attempts of a study, and its workers."""
    return (yield from get(of(study_id, "timeline"), TimelineDocument))


def rungs(study_id: str) -> Steps[RungsDocument]:
    """The fidelities of a study with their trials."""
    return (yield from get(of(study_id, "rungs"), RungsDocument))


def importance(study_id: str) -> Steps[ImportanceDocument]:
    """Which hyperparameters the objectives of a study depend on."""
    return (yield from get(of(study_id, "importance"), ImportanceDocument))


def payback(study_id: str) -> Steps[PaybackDocument]:
    """When a study has paid for itself."""
    return (yield from get(of(study_id, "payback"), PaybackDocument))


def presets() -> Steps[list[Preset]]:
    """Studies that come with the service."""
    return (yield from get("/presets", list[Preset]))


def workers() -> Steps[WorkersDocument]:
    """The workers of the cluster."""
    return (yield from get("/workers", WorkersDocument))


def drain(name: str, *, undo: bool = False) -> Steps[Drain]:
    """Gives a worker no new trial, or trials again."""
    path = f"{API}/workers/{quote(name, safe='')}/{'undrain' if undo else 'drain'}"
    return parsed((yield from exchange(Send("POST", path))), Drain)


def health() -> Steps[Health]:
    """That the service answers."""
    return parsed((yield from exchange(Send("GET", "/healthz"))), Health)


def ask(study_id: str, kind: RequestKind, trial_id: str | None = None) -> Steps[Asked]:
    """Asks something of a study or of one of its trials."""
    path = of(study_id, kind) if trial_id is None else of(study_id, "trials", trial_id, kind)
    return parsed((yield from exchange(Send("POST", f"{API}{path}", repeatable=False))), Asked)


def wait(
    study_id: str,
    progress: bool | Callable[[StudyDocument], None],
    timeout: float | None,
    clock: Callable[[], float] = time.monotonic,
) -> Steps[StudyState]:
    """The state of a study once it has ended, or once `timeout` seconds are over."""
    report = _print if progress is True else (progress or None)
    started = heard = clock()
    told: StudyDocument | None = None
    while True:
        try:
            found = yield from show(study_id)
        except UnreachableError:
            # Who was there a moment ago may be starting again.
            if told is None or clock() - heard > PATIENCE_SECONDS:
                raise
        else:
            heard = clock()
            if report is not None and found != told:
                report(found)
            told = found
            if found.state in ENDED:
                return found.state
        if timeout is not None and clock() - started >= timeout:
            assert told is not None, "the first answer came, or else an error"
            return told.state
        yield Pause(_POLL_SECONDS)


def _print(study: StudyDocument) -> None:
    counts = ", ".join(f"{n} {state}" for state, n in study.n_trials.model_dump().items() if n)
    why = f" ({study.reason})" if study.reason else ""
    sys.stderr.write(f"{study.name} {study.state}{why}: {counts or 'no trials yet'}\n")


def of(study_id: str, *parts: str) -> str:
    """The path of a study, or of something below it."""
    return "/".join(["/studies", *(quote(part, safe="") for part in (study_id, *parts))])
