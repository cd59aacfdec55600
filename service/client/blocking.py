"""The client that waits for each answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from service import drawing
from service.client import calls
from service.client.calls import Outcome, Pause, Send, Steps
from service.client.connection import options
from service.client.following import MAX_EVENT_BYTES, Following
from service.errors import ServiceError
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
    Asked,
    Drain,
    EpochPoint,
    Event,
    Health,
    LedgerDocument,
    Preset,
    StudyDocument,
    StudySummary,
    WorkersDocument,
)

T = TypeVar("T")


class Client:
    """A service, reached over HTTP. Every method may raise these.

    Args:
        url: of the service; None is GREENSHIFT_URL, or `http://127.0.0.1:8765`.
        token: None is GREENSHIFT_TOKEN, or none.
        timeout: seconds without any answer, above 0.

    Raises:
        InputError: what was asked for cannot be; the message is what the service says of it.
        NotFoundError: there is no such study or trial.
        RefusedError: no valid token, or a state in which this cannot be.
        UnreachableError: no service answers.
    """

    def __init__(self, url: str | None = None, token: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx2.Client(**options(url, token, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def submit(self, study: str | Path | dict[str, Any] | StudySpec, **overrides: Any) -> StudyHandle:
        """Submits a study, and returns it before it has begun.

        Args:
            study: a preset's name, a YAML or JSON file, a dict or a spec.
            overrides: other values than the study's of its keys, such as `seed` or `name`, and of `n_trials`.
        """
        return StudyHandle(self, self.run(calls.submit(study, overrides)))

    def study(self, study: str) -> StudyHandle:
        """The study with this id, or the only one of this name."""
        return StudyHandle(self, self.run(calls.find(study)))

    def studies(self) -> list[StudySummary]:
        """All studies, the newest first."""
        return self.run(calls.studies())

    def presets(self) -> list[Preset]:
        """Studies that come with the service."""
        return self.run(calls.presets())

    def workers(self) -> WorkersDocument:
        """The workers of the cluster."""
        return self.run(calls.workers())

    def drain_worker(self, name: str) -> Drain:
        """Lets a worker finish what it runs and gives it no new trial, until it is taken back."""
        return self.run(calls.drain(name))

    def undrain_worker(self, name: str) -> Drain:
        """Gives a drained worker trials again."""
        return self.run(calls.drain(name, undo=True))

    def health(self) -> Health:
        """That the service answers, and its version."""
        return self.run(calls.health())

    def run(self, steps: Steps[T]) -> T:
        """What a call returns, each of its steps taken."""
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._take(step)

    def _take(self, step: Send | Pause) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.request(step.method, step.path, params=step.params, json=step.json, headers=step.headers)
        except httpx2.TransportError as error:
            return error

    def follow(self, following: Following) -> Iterator[Event]:
        """The events that a reader has not seen yet, whatever becomes of the connection."""
        while not following.is_over:
            error: Exception | None = None
            try:
                with self._http.stream("GET", following.path, **following.request) as response:
                    if not response.is_success:
                        response.read()
                    if following.check(response):
                        for message in httpx2.EventSource(response, MAX_EVENT_BYTES):
                            event = following.take(message)
                            if event is not None:
                                yield event
            except httpx2.TransportError as lost:
                error = lost
            if not following.is_over:
                time.sleep(following.lost(self._http.base_url, error))


class StudyHandle:
    """A study of a service.

    Args:
        client: of the service.
        study: as the service describes it.
    """

    def __init__(self, client: Client, study: StudyDocument) -> None:
        self._client = client
        self.study_id, self.name = study.study_id, study.name

    def __repr__(self) -> str:
        return f"StudyHandle({self.study_id!r}, name={self.name!r})"

    def _repr_html_(self) -> str | None:
        try:
            return drawing.table(self._snapshot())
        except ServiceError:
            # A service that does not answer is no reason for a traceback in a notebook: there is still the name.
            return None

    def plot_front(self) -> Any:
        """The front, now, as a figure of matplotlib: a hollow mark is an estimate."""
        return drawing.front(self._snapshot())

    def plot_hypervolume(self) -> Any:
        """How the hypervolume grew from trial to trial, as a figure of matplotlib."""
        return drawing.hypervolume(self._snapshot())

    def plot_parallel_coordinates(self) -> Any:
        """Hyperparameters and objectives side by side, a line a trial, as a figure of matplotlib."""
        return drawing.parallel_coordinates(self._snapshot())

    @property
    def state(self) -> StudyState:
        """Where the study stands, now."""
        return self._client.run(calls.show(self.study_id)).state

    @property
    def reason(self) -> str | None:
        """Why the study is in its state, now, such as what made it fail; None where nobody said."""
        return self._client.run(calls.show(self.study_id)).reason

    @property
    def spec(self) -> StudySpec:
        """What the study is, as it is now: a task fills in what its author left to it."""
        return self._client.run(calls.show(self.study_id)).spec

    def document(self) -> StudyDocument:
        """The study as it stands, now: its state, its spec, and when it was created."""
        return self._client.run(calls.show(self.study_id))

    def status(self) -> dict[str, Any]:
        """How far the study is, and why it is in its state.

        The keys: `state`, `n_trials` by state, `hypervolume`, `reference_point`, `energy_joules`,
        `energy_joules_by_quality`, `reason`.
        """
        return self._client.run(calls.status(self.study_id))

    def wait(self, progress: bool | Callable[[StudySummary], None] = False, timeout: float | None = None) -> StudyState:
        """The state of the study once it has ended; a service that starts again meanwhile is waited for.

        Args:
            progress: called with the study whenever something has changed; True writes a line to standard error.
            timeout: seconds after which the state is returned whatever it is; None waits for ever.
        """
        return self._client.run(calls.wait(self.study_id, progress, timeout))

    def front(self) -> list[Trial]:
        """The trials at full fidelity that no other dominates, by the first objective."""
        return self._client.run(calls.front(self.study_id))

    def trials(self, state: TrialState | None = None) -> list[Trial]:
        """All trials, or those in `state`, in the order of their last events."""
        return self._client.run(calls.trials(self.study_id, state))

    def trial(self, trial_id: str) -> Trial:
        """One trial."""
        return self._client.run(calls.trial(self.study_id, trial_id))

    def epochs(self, trial_id: str) -> list[EpochPoint]:
        """What each epoch of a trial came to, by attempt and epoch."""
        return self._client.run(calls.epochs(self.study_id, trial_id))

    def layers(self, trial_id: str) -> LayersDocument:
        """The layers of the network that a trial has trained: zeros, and how often each power of two is there."""
        return self._client.run(calls.layers(self.study_id, trial_id))

    def ledger(self) -> LedgerDocument:
        """All energy that the study has spent."""
        return self._client.run(calls.ledger(self.study_id))

    def history(self) -> HistoryDocument:
        """How the front grew over trials, seconds and joules, from one reference point."""
        return self._client.run(calls.history(self.study_id))

    def timeline(self) -> TimelineDocument:
        """Each attempt with its worker and times, and how long workers stood idle."""
        return self._client.run(calls.timeline(self.study_id))

    def rungs(self) -> RungsDocument:
        """The trials at each fidelity, and how well a lower one ranks configs as a higher one does."""
        return self._client.run(calls.rungs(self.study_id))

    def importance(self) -> ImportanceDocument:
        """Which hyperparameters each objective depends on, with the score of the model that says so."""
        return self._client.run(calls.importance(self.study_id))

    def payback(self) -> PaybackDocument:
        """After how many inferences each network of the front has saved what the study has spent."""
        return self._client.run(calls.payback(self.study_id))

    def iter_events(self, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """The lines of the study's log behind number `after`, each once, also where the service starts again.

        Unlike the HTTP route, which follows unless it is told not to, it ends by default with what is there.

        Args:
            after: `seq` of the last event that is known already; by default 0, which is the whole log.
            follow: wait for what comes until the study has ended; by default read what is there, and end.
        """
        return self._client.follow(Following(self.study_id, after, follow=follow))

    def pause(self) -> Asked:
        """Asks the study to pause; it does within a second or two, and so with the others."""
        return self._client.run(calls.ask(self.study_id, "pause"))

    def resume(self) -> Asked:
        """Asks the study to go on."""
        return self._client.run(calls.ask(self.study_id, "resume"))

    def stop(self) -> Asked:
        """Asks the study to stop; what has finished is kept."""
        return self._client.run(calls.ask(self.study_id, "stop"))

    def retry(self, trial_id: str) -> Asked:
        """Asks for a trial that failed or was stopped to be tried again; a study that has ended goes on for it."""
        return self._client.run(calls.ask(self.study_id, "retry", trial_id))

    def cancel_trial(self, trial_id: str) -> Asked:
        """Asks for a trial that waits or runs to be given up."""
        return self._client.run(calls.ask(self.study_id, "cancel", trial_id))

    def _snapshot(self) -> drawing.Snapshot:
        return drawing.Snapshot.of(self.document(), self.trials())
