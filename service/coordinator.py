"""The loop that joins store, optimizer and dispatcher: keeps every worker busy and records what comes back."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from service.artifacts import model_path, prune_models
from service.baselines import baselines
from service.budget import Spent
from service.checkpoints import checkpoint_url, remove_checkpoints
from service.dispatch import Dispatcher
from service.errors import ServiceError
from service.optimizer import Optimizer, Suggestion, Told
from service.proposals import suggestion_of, told_of, trial_of
from service.schema import Study, StudyState, Trial, TrialState
from service.specs import trial_spec
from service.store import Store
from worker.schema import FailureKind, TaskFacts, TrialResult, TrialSpec

logger = logging.getLogger(__name__)
MAX_LOST_WORKERS = 2
# How often to look whether workers have come: nothing else tells.
_WAKE_SECONDS = 1.0
# For cancelled trials to come back with what they have spent; a trial ends within one batch.
_GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class _Asked:
    """The optimizer has learned of `told` and then answered."""

    told: list[TrialResult]
    suggestion: Suggestion | None
    error: Exception | None = None


class _Stop:
    """Somebody wants the loop to end."""


class Coordinator:
    """Runs one study until its budget is spent. The only writer of trials.

    Asking may take a second, so it happens on a thread of its own, one suggestion ahead of need, while this loop
    goes on recording results and refilling workers. Tells are handed to that thread together with the next ask,
    and the store keeps the order of both: it can rebuild the optimizer exactly.

    Args:
        study: what to run; trials that the store has already are taken into account.
        store: where everything is recorded first.
        optimizer: fresh; brought up to date from the store.
        dispatcher: where trials run.
        facts: of the study's data set and network.
        models_dir: where workers put the weights of full-fidelity trials; None keeps none.
        checkpoints: path or URL under which workers leave checkpoints, where the study goes on from them.
        on_change: called after every change, from the thread that runs the loop.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        optimizer: Optimizer,
        dispatcher: Dispatcher,
        facts: TaskFacts,
        *,
        models_dir: str | None = None,
        checkpoints: str | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._study, self._store = study, store
        self._optimizer, self._dispatcher = optimizer, dispatcher
        self._facts, self._models_dir, self._on_change = facts, models_dir, on_change
        self._checkpoints = checkpoints if study.spec.continue_promoted else None
        # Its put may be called from a signal handler in the middle of a get.
        self._inbox: SimpleQueue[_Asked | TrialResult | type[_Stop]] = SimpleQueue()
        self._ready: deque[Trial] = deque()
        self._running: dict[str, Trial] = {}
        self._untold: list[TrialResult] = []
        self._n_lost: Counter[str] = Counter()
        self._asking = self._starved = self._stopping = False
        self._has_workers = True
        self._spent = Spent()
        self._started = time.monotonic()

    def stop(self) -> None:
        """Makes `run` return soon, from any thread or a signal handler; the study can be run again."""
        self._inbox.put(_Stop)

    def run(self) -> StudyState:
        """Runs the study and returns the state it ended in.

        COMPLETED, STOPPED after `stop`, or FAILED where trials were searched and none completed.

        Raises:
            ServiceError: the optimizer or the cluster failed; the study is FAILED then, and can be run again.
        """
        self._store.set_study_state(self._study.study_id, StudyState.RUNNING)
        self._started = time.monotonic()
        try:
            self._recover()
            self._loop()
        except Exception as error:  # whatever it was, the study must not stay RUNNING
            self._end(StudyState.FAILED, f"{type(error).__name__}: {error}")
            if isinstance(error, ServiceError):
                raise
            raise ServiceError(f"the study failed: {type(error).__name__}: {error}") from error
        state = self._end(*self._verdict())
        if state is StudyState.COMPLETED and self._checkpoints is not None:
            remove_checkpoints(self._checkpoints, self._study.study_id)
        if self._models_dir is not None:
            prune_models(self._models_dir, self._store.trials(self._study.study_id), self._study.spec)
        self._on_change()
        return state

    def _loop(self) -> None:
        while True:
            self._dispatch()
            self._think()
            self._on_change()
            if self._stopping or self._is_done():
                return
            with suppress(Empty):
                self._handle(self._inbox.get(timeout=_WAKE_SECONDS))

    def _is_done(self) -> bool:
        return not (self._running or self._asking or (self._ready and not self._is_overrun()))

    def _recover(self) -> None:
        """Brings optimizer, untold results and waiting trials to where the log ends."""
        for trial in self._store.trials(self._study.study_id, TrialState.RUNNING):
            self._store.give_back(trial, "the coordinator started again")
        trials = {t.trial_id: t for t in self._store.trials(self._study.study_id)}
        events = self._store.events(self._study.study_id)
        self._spent = Spent.from_events(events)
        self._add_baselines(set(trials))
        told: set[str] = set()
        log: list[Suggestion | Told] = []
        for event in events:
            if event.trial_id is None or trials[event.trial_id].is_default:
                continue
            if event.kind == "trial_added":
                log.append(suggestion_of(trials[event.trial_id]))
            elif event.kind == "trial_told":
                told.add(event.trial_id)
                result = trials[event.trial_id].result
                assert result is not None
                log.append(told_of(result, self._study.spec))
        self._optimizer.replay(log)
        for trial in trials.values():
            if trial.state is TrialState.WAITING:
                self._ready.append(trial)
            elif trial.trial_id not in told and not trial.is_default and trial.result:
                self._untold.append(trial.result)

    def _add_baselines(self, known: set[str]) -> None:
        for baseline in baselines(self._study, self._facts.n_layers):
            if baseline.trial_id not in known and not self._spent.reaches(self._study.spec.budget):
                self._add(baseline)

    def _add(self, trial: Trial) -> None:
        self._store.add_trial(trial)
        self._spent.n_trials += 1
        self._ready.append(trial)

    def _dispatch(self) -> None:
        """Sends waiting trials while there are free slots."""
        if self._stopping or self._is_overrun():
            return
        n_slots = self._dispatcher.n_slots()
        if self._has_workers and not n_slots:
            logger.warning("no worker is there; waiting for one")
        self._has_workers = n_slots > 0
        for _ in range(self._dispatcher.n_free(len(self._ready))):
            trial = self._store.start_attempt(self._ready.popleft())
            self._running[trial.trial_id] = trial
            self._dispatcher.submit(self._spec(trial), self._inbox.put)

    def _think(self) -> None:
        """Asks for the next trial on a thread of its own, unless enough are waiting or the budget is spent."""
        n_ahead = max(1, self._dispatcher.n_slots() // 4)
        if self._asking or self._stopping or len(self._ready) >= n_ahead:
            return
        if self._is_spent() or (self._starved and not self._untold):
            return
        self._asking = True
        told, self._untold = self._untold, []
        threading.Thread(target=self._ask, args=(told,), daemon=True).start()

    def _ask(self, told: list[TrialResult]) -> None:
        try:
            for result in told:
                event = told_of(result, self._study.spec)
                self._optimizer.tell(event.trial_id, event.objectives, failure=event.failure)
            self._inbox.put(_Asked(told, self._optimizer.ask()))
        except Exception as error:  # noqa: BLE001 - raised again by the loop
            self._inbox.put(_Asked(told, None, error))

    def _handle(self, message: _Asked | TrialResult | type[_Stop]) -> None:
        if isinstance(message, _Asked):
            self._asked(message)
        elif isinstance(message, TrialResult):
            self._finished(message)
        else:
            self._stopping = True

    def _asked(self, asked: _Asked) -> None:
        self._asking = False
        if asked.error is not None:
            raise ServiceError(f"the optimizer failed: {type(asked.error).__name__}: {asked.error}") from asked.error
        for result in asked.told:
            self._store.record_told(self._study.study_id, result.trial_id)
        if asked.suggestion is not None:
            self._add(trial_of(asked.suggestion, self._study, self._facts))
        # Nothing to suggest until something is told.
        self._starved = asked.suggestion is None

    def _finished(self, result: TrialResult) -> None:
        self._spent.add(result)
        trial = self._running.get(result.trial_id)
        if trial is None or trial.attempt != result.attempt:
            self._store.finish_attempt(result, TrialState.FAILED)  # logged as late, whatever the state
            return
        del self._running[result.trial_id]
        state = self._state_after(result, trial)
        if not self._store.finish_attempt(result, state):
            return
        if state is TrialState.COMPLETED:
            self._check_budget(result)
        if state is TrialState.WAITING:
            self._ready.appendleft(self._store.trial(trial.study_id, trial.trial_id))
        elif not trial.is_default:
            self._untold.append(result)

    def _state_after(self, result: TrialResult, trial: Trial) -> TrialState:
        """A lost worker says nothing about the config: the trial is tried again, a few times."""
        if result.failure is None:
            return TrialState.COMPLETED
        if result.failure.kind is FailureKind.CANCELLED:
            # Ended by the end of the run it is still to be done; else somebody did not want it.
            return TrialState.WAITING if self._stopping else TrialState.STOPPED
        if result.failure.kind is not FailureKind.WORKER_LOST:
            return TrialState.FAILED
        self._n_lost[trial.trial_id] += 1
        return TrialState.WAITING if self._n_lost[trial.trial_id] <= MAX_LOST_WORKERS else TrialState.FAILED

    def _check_budget(self, result: TrialResult) -> None:
        """Ends a study that would never end: its budget is of energy, and energy is unknown here."""
        if self._study.spec.budget.needs_energy and (result.energy is None or result.energy.joules is None):
            flags = ", ".join(result.energy.flags) if result.energy else ""
            raise ServiceError(
                f"budget: the energy of trial {result.trial_id} is unknown ({flags or 'nothing could be read'}), "
                "so energy alone would never end this study: add n_trials or wall_seconds"
            )

    def _is_spent(self) -> bool:
        return self._spent.reaches(self._study.spec.budget, time.monotonic() - self._started)

    def _is_overrun(self) -> bool:
        return self._spent.overruns(self._study.spec.budget, time.monotonic() - self._started)

    def _verdict(self) -> tuple[StudyState, str]:
        """The state that the study ends in, and why."""
        if self._stopping:
            return StudyState.STOPPED, "stopped by the user"
        searched = [t for t in self._store.trials(self._study.study_id) if not t.is_default]
        if searched and not any(t.state is TrialState.COMPLETED for t in searched):
            return StudyState.FAILED, "no trial of the search completed"
        return StudyState.COMPLETED, "the budget is spent" if self._is_spent() else "the space is exhausted"

    def _end(self, state: StudyState, reason: str) -> StudyState:
        """Cancels what still runs, records what that had spent, gives the rest back and closes the study."""
        self._stopping = True
        for trial_id in self._running:
            self._dispatcher.cancel(trial_id)
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._running and (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                message = self._inbox.get(timeout=left)
                if isinstance(message, TrialResult):
                    self._finished(message)
        for trial in self._running.values():
            self._store.give_back(trial, reason)
        self._store.set_study_state(self._study.study_id, state, reason)
        return state

    def _spec(self, trial: Trial) -> TrialSpec:
        return trial_spec(
            self._study.spec,
            trial,
            resume_from=self._checkpoint(trial.promoted_from),
            checkpoint_to=None if trial.is_full else self._checkpoint(trial.trial_id),
            model_path=model_path(self._models_dir, trial, self._study.spec) if self._models_dir is not None else None,
        )

    def _checkpoint(self, trial_id: str | None) -> str | None:
        if self._checkpoints is None or trial_id is None:
            return None
        return checkpoint_url(self._checkpoints, self._study.study_id, trial_id)
