"""The loop that joins store, optimizer and dispatcher: keeps every worker busy and records what comes back."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from service.asking import Asked, Asker, Log
from service.baselines import baselines
from service.dispatch import Dispatcher
from service.errors import ClusterLostError, ServiceError
from service.limits import Limits
from service.optimizer import Optimizer, Told
from service.outputs import Outputs
from service.proposals import trial_of
from service.recovery import optimizer_log, told_of_trial, untold
from service.schema import Study, StudyState, Trial, TrialState
from service.store import Request, Store
from service.telemetry import count_result
from worker.schema import AnyFacts, EpochMetrics, FailureKind, TrialResult

logger = logging.getLogger(__name__)
# How often to look for requests, and whether workers have come: nothing else tells.
_WAKE_SECONDS = 1.0
# For cancelled trials to come back with what they have spent; a trial ends within one batch.
_GRACE_SECONDS = 3.0


class _Signal:
    """What else may be in the inbox: somebody wants the loop to look around, or to end."""


_WAKE, _STOP, _LEAVE = _Signal(), _Signal(), _Signal()
_Message = Asked | TrialResult | EpochMetrics | _Signal


class Coordinator:
    """Runs one study until its budget is spent. The only writer of trials.

    Asking may take a second, so it happens on a thread of its own, ahead of need, while this loop
    goes on recording results and refilling workers. Tells are handed to that thread together with the next ask,
    and the store keeps the order of both: it can rebuild the optimizer exactly.

    Args:
        study: what to run; trials that the store has already are taken into account.
        store: where everything is recorded first, and where others leave their requests.
        make_optimizer: gives a fresh one; it is brought up to date from the store.
        dispatcher: where trials run.
        facts: of the study's data set and network, or of its task.
        models_dir: where workers put the weights of full-fidelity trials; None keeps none.
        checkpoints: path or URL under which workers leave checkpoints; None leaves none.
        on_change: called after every change, from the thread that runs the loop.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        make_optimizer: Callable[[], Optimizer],
        dispatcher: Dispatcher,
        facts: AnyFacts,
        *,
        models_dir: str | None = None,
        checkpoints: str | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._study, self._store, self._dispatcher, self._facts = study, store, dispatcher, facts
        self._on_change = on_change
        self._outputs = Outputs(study, models_dir, checkpoints)
        self._limits = Limits(study.spec)
        # Its put may be called from a signal handler in the middle of a get.
        self._inbox: SimpleQueue[_Message] = SimpleQueue()
        self._asker = Asker(make_optimizer, self._inbox.put)
        self._ready: deque[Trial] = deque()
        self._running: dict[str, Trial] = {}
        self._untold: list[Told] = []
        self._told: set[str] = set()
        self._answered = store.answered(study.study_id)
        self._looked, self._has_looked = 0.0, False
        self._epochs: list[EpochMetrics] = []
        # Trials that somebody does not want any more.
        self._unwanted: set[str] = set()
        self._n_lost: Counter[str] = Counter()
        self._starved = self._stopping = self._leaving = False
        self._paused = study.state is StudyState.PAUSED
        self._has_workers = True

    def stop(self) -> None:
        """Makes `run` return soon, from any thread or a signal handler; the study can be run again."""
        self._inbox.put(_STOP)

    def leave(self) -> None:
        """Makes `run` return soon and leaves everything as it is, for the next coordinator to go on with."""
        self._inbox.put(_LEAVE)

    def wake(self) -> None:
        """Makes the loop look around now, from any thread: there may be a free slot or a request."""
        self._inbox.put(_WAKE)

    def run(self) -> StudyState:
        """Runs the study and returns the state it ended in.

        COMPLETED, STOPPED after `stop`, FAILED where trials were searched and none completed; WAITING where somebody
        asked meanwhile that it goes on; RUNNING or PAUSED after `leave`.

        Raises:
            ClusterLostError: the scheduler is gone; the study can go on when there is one.
            ServiceError: the optimizer failed; the study is FAILED then, and can be run again.
        """
        if not self._paused:
            self._store.set_study_state(self._study.study_id, StudyState.RUNNING)
        self._limits = Limits(self._study.spec)
        try:
            self._recover()
            self._loop()
        except ClusterLostError:
            raise
        except Exception as error:  # whatever it was, the study must not stay RUNNING
            named = "" if isinstance(error, ServiceError) else f"{type(error).__name__}: "
            self._end(StudyState.FAILED, f"{named}{error}")
            if isinstance(error, ServiceError):
                raise
            raise ServiceError(f"the study failed: {type(error).__name__}: {error}") from error
        if self._leaving:
            return self._store.study(self._study.study_id).state
        state = self._end(*self._verdict())
        self._outputs.clean_up(state, self._store.trials(self._study.study_id))
        self._on_change()
        return state

    def _loop(self) -> None:
        while True:
            self._heed_requests()
            self._dispatch()
            self._think()
            self._flush_epochs()
            self._on_change()
            if self._stopping or self._leaving or self._is_done():
                return
            self._handle(self._received(_WAKE_SECONDS))

    def _received(self, timeout: float) -> list[_Message]:
        """All messages that wait, or the first that comes within `timeout` seconds and what is behind it."""
        messages: list[_Message] = []
        with suppress(Empty):
            messages.append(self._inbox.get(timeout=timeout))
            while True:
                messages.append(self._inbox.get_nowait())
        return messages

    def _is_done(self) -> bool:
        if self._paused:
            return False
        return not (self._running or self._asker.is_busy or (self._ready and not self._limits.is_overrun))

    def _recover(self) -> None:
        """Brings optimizer, untold results, running and waiting trials to where the log ends."""
        trials = self._store.trials(self._study.study_id)
        self._limits.recover(self._store.events(self._study.study_id), trials)
        self._add_baselines({t.trial_id for t in trials})
        log = self._log()
        self._told = {entry.trial_id for entry in log.entries if isinstance(entry, Told)}
        self._untold = untold(self._told, trials, self._study.spec)
        for trial in trials:
            if trial.state is TrialState.WAITING:
                self._ready.append(trial)
            elif trial.state is TrialState.RUNNING and not self._adopt(trial):
                self._store.give_back(trial, "the coordinator started again")
                self._ready.append(self._store.trial(trial.study_id, trial.trial_id))

    def _adopt(self, trial: Trial) -> bool:
        """Finds an attempt that an earlier coordinator began, and that may still be going on."""
        self._running[trial.trial_id] = trial
        found = self._dispatcher.adopt(self._outputs.spec(trial), self._inbox.put, self._inbox.put)
        if not found:
            del self._running[trial.trial_id]
        return found

    def _log(self) -> Log:
        study_id = self._study.study_id
        trials = {t.trial_id: t for t in self._store.trials(study_id)}
        snapshot = self._store.latest_snapshot(study_id)
        entries = optimizer_log(self._store.events(study_id), trials, self._study.spec)
        return Log(entries, snapshot.data if snapshot else None)

    def _add_baselines(self, known: set[str]) -> None:
        for baseline in baselines(self._study, self._facts):
            if baseline.trial_id not in known and self._limits.has_room:
                self._store.add_trial(baseline)
                self._add(baseline)

    def _add(self, trial: Trial) -> None:
        """Takes in a trial that has been recorded."""
        self._limits.add()
        self._ready.append(trial)

    def _heed_requests(self) -> None:
        """Does what others have asked for in the store, each once; looks there once a second, or when woken."""
        if time.monotonic() - self._looked < _WAKE_SECONDS:
            return
        self._looked = time.monotonic()
        for request in self._store.requests(self._study.study_id, self._answered):
            self._store.answer(request, self._do(request))
            self._answered = request.seq
        self._has_looked = True

    def _do(self, request: Request) -> str:
        """Does what was asked for and says what came of it."""
        if request.kind in ("pause", "resume"):
            self._set_paused(request.kind == "pause")
            return "done"
        if request.kind == "stop":
            self._stopping = True
            return "done"
        trial = self._store.trial(request.study_id, str(request.trial_id))
        return self._retry(trial) if request.kind == "retry" else self._cancel(trial)

    def _set_paused(self, paused: bool) -> None:
        """A paused study holds no slot: what runs is cancelled, and goes on later."""
        if paused == self._paused:
            return
        self._paused = paused
        for trial_id in self._running if paused else ():
            self._dispatcher.cancel(trial_id)
        state = StudyState.PAUSED if paused else StudyState.RUNNING
        self._store.set_study_state(self._study.study_id, state, "by the user" if paused else "resumed")

    def _retry(self, trial: Trial) -> str:
        if trial.state not in (TrialState.FAILED, TrialState.STOPPED):
            return f"the trial is {trial.state}; only FAILED and STOPPED ones are tried again"
        self._n_lost.pop(trial.trial_id, None)
        self._unwanted.discard(trial.trial_id)
        self._untold = [told for told in self._untold if told.trial_id != trial.trial_id]
        self._ready.appendleft(self._store.retry_trial(trial, "asked for"))
        return "done"

    def _cancel(self, trial: Trial) -> str:
        if trial.trial_id in self._running:
            self._unwanted.add(trial.trial_id)
            self._dispatcher.cancel(trial.trial_id)
            return "done"
        if trial.state is not TrialState.WAITING:
            return f"the trial is {trial.state} already"
        self._ready = deque(t for t in self._ready if t.trial_id != trial.trial_id)
        self._learn(self._store.stop_trial(trial, "asked for"))
        if trial.attempt:
            self._outputs.forget_rescued(trial.trial_id)
        return "done"

    def _dispatch(self) -> None:
        """Sends waiting trials while there are free slots."""
        if self._stopping or self._leaving or self._paused or self._limits.is_overrun:
            return
        n_slots = self._dispatcher.n_slots()
        # Those that run adopted trials are there, and are asked what they know when they have finished.
        has_workers = n_slots > 0 or bool(self._running)
        if self._has_workers and not has_workers:
            logger.warning("no worker is there; waiting for one")
        self._has_workers = has_workers
        n_free = self._dispatcher.n_free(len(self._ready))
        if n_free <= 0:
            return
        started = self._store.start_attempts([self._ready.popleft() for _ in range(n_free)])
        self._running |= {trial.trial_id: trial for trial in started}
        for trial in started:
            self._dispatcher.submit(self._outputs.spec(trial), self._inbox.put, self._inbox.put)

    def _think(self) -> None:
        """Asks for further trials, unless enough are waiting or the budget is spent."""
        if self._asker.is_busy or self._stopping or self._paused or (self._starved and not self._untold):
            return
        n_ahead = max(1, self._dispatcher.n_slots() // 4)
        n_wanted = self._limits.n_more(n_ahead - len(self._ready))
        if n_wanted <= 0:
            return
        told, self._untold = self._untold, []
        self._told |= {entry.trial_id for entry in told}
        self._asker.ask(told, self._log() if self._asker.needs_log else None, n_wanted)

    def _handle(self, messages: list[_Message]) -> None:
        for trial in self._record([m for m in messages if isinstance(m, TrialResult)]):
            self._limits.check(trial)
        for message in messages:
            if isinstance(message, Asked):
                self._asked(message)
            elif isinstance(message, EpochMetrics):
                self._epochs.append(message)
            elif isinstance(message, _Signal):
                self._stopping |= message is _STOP
                self._leaving |= message is _LEAVE
                self._looked = 0.0

    def _asked(self, asked: Asked) -> None:
        if asked.error is not None and not asked.was_fresh:
            logger.warning("the optimizer failed and is built anew from the log", exc_info=asked.error)
            self._asker.ask(asked.told, self._log())
            return
        trials = [trial_of(suggestion, self._study, self._facts) for suggestion in self._asker.take(asked)]
        if asked.told or trials:
            self._store.record_asked(self._study.study_id, asked.told, trials, asked.snapshot)
        for trial in trials:
            self._add(trial)
        # Nothing to suggest until something is told.
        self._starved = not trials

    def _record(self, results: list[TrialResult]) -> list[Trial]:
        """Records what has come back, in one transaction, and returns the trials that are finished by it."""
        if not results:
            return []
        for result in results:
            self._limits.spend(result)
            count_result(result)
        ended = [_without_rescue(result, self._state_after(result)) for result in results]
        # An attempt that was killed while it wrote has left something and could not say so.
        left_some = {result.trial_id for result in results if result.failure is not None or result.attempt > 1}
        accepted = [trial for trial in self._store.finish_attempts(ended) if trial is not None]
        for trial in accepted:
            if trial.state is TrialState.WAITING:
                self._ready.appendleft(trial)
                continue
            self._limits.see(trial)
            self._learn(trial)
            if trial.trial_id in left_some:
                self._outputs.forget_rescued(trial.trial_id)
        return [trial for trial in accepted if trial.state.is_finished]

    def _learn(self, trial: Trial) -> None:
        """What is finished will be told to the optimizer with the next question, once."""
        if not trial.is_default and trial.trial_id not in self._told:
            self._untold.append(told_of_trial(trial, self._study.spec))

    def _state_after(self, result: TrialResult) -> TrialState:
        """A lost worker says little about the config: the trial is tried again, as often as the study lets it."""
        trial = self._running.get(result.trial_id)
        if trial is None or trial.attempt != result.attempt:
            return TrialState.FAILED  # logged as late, whatever the state
        del self._running[result.trial_id]
        if result.failure is None:
            return TrialState.COMPLETED
        if result.failure.kind is FailureKind.CANCELLED:
            # Ended with the run or by a pause it is still to be done; else somebody did not want it.
            return TrialState.STOPPED if trial.trial_id in self._unwanted else TrialState.WAITING
        if result.failure.kind is not FailureKind.WORKER_LOST:
            return TrialState.FAILED
        if result.rescued == result.attempt:
            # It has got further, and its worker was only told to end.
            return TrialState.WAITING
        self._n_lost[trial.trial_id] += 1
        is_too_often = self._n_lost[trial.trial_id] > self._study.spec.max_lost_workers
        return TrialState.FAILED if is_too_often else TrialState.WAITING

    def _verdict(self) -> tuple[StudyState, str]:
        """The state that the study ends in, and why."""
        if self._stopping:
            return StudyState.STOPPED, "stopped by the user"
        searched = [t for t in self._store.trials(self._study.study_id) if not t.is_default]
        if searched and not any(t.state is TrialState.COMPLETED for t in searched):
            return StudyState.FAILED, f"no trial of the search completed{_last_failure(searched)}"
        return StudyState.COMPLETED, "the budget is spent" if self._limits.is_spent else "the space is exhausted"

    def _end(self, state: StudyState, reason: str) -> StudyState:
        """Cancels what still runs, records what that had spent, gives the rest back and closes the study."""
        for trial_id in self._running:
            self._dispatcher.cancel(trial_id)
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._running and (left := deadline - time.monotonic()) > 0:
            self._record([m for m in self._received(left) if isinstance(m, TrialResult)])
        self._flush_epochs()
        for trial in self._running.values():
            self._store.give_back(trial, reason)
        if self._has_looked:
            return self._store.end_study(self._study.study_id, state, reason, self._answered)
        # What it was started for must not start it again and again.
        self._store.set_study_state(self._study.study_id, state, reason)
        return state

    def _flush_epochs(self) -> None:
        epochs, self._epochs = self._epochs, []
        self._store.record_epochs(epochs)


def _without_rescue(result: TrialResult, state: TrialState) -> tuple[TrialResult, TrialState]:
    """What is recorded of an attempt: a trial that is finished, and may be retried, keeps nothing to go on from."""
    return result if state is TrialState.WAITING else result.model_copy(update={"rescued": None}), state


def _last_failure(trials: list[Trial]) -> str:
    """What made the last trial that failed fail."""
    failures = [trial.result.failure for trial in trials if trial.result is not None and trial.result.failure]
    return f"; the last failure: {failures[-1].kind}: {failures[-1].message}" if failures else ""
