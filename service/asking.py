"""Asking the optimizer takes up to seconds, so it happens on a thread of its own; what is quick comes together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import ServiceError
from service.optimizer import Optimizer, Suggestion, Told
from service.telemetry import ASK_SECONDS, TELL_SECONDS

# Who asks quickly waits longer for the disk: so long suggestions are collected, to be recorded together.
_COLLECT_SECONDS = 0.05


@dataclass(frozen=True)
class Log:
    """What an optimizer is built anew from.

    Attributes:
        entries: all suggestions and tells, in order.
        snapshot: the latest that an optimizer gave, or None.
    """

    entries: list[Suggestion | Told]
    snapshot: bytes | None = None


@dataclass(frozen=True)
class Asked:
    """The optimizer has learned of `told` and then answered, or failed.

    Attributes:
        suggestions: in their order; none is nothing to do until it is told more.
        seconds: that it took.
        was_fresh: it had just been built from the log, so that building it anew would not help.
        snapshot: of the optimizer behind this answer.
    """

    told: list[Told]
    suggestions: list[Suggestion]
    seconds: float
    was_fresh: bool
    error: Exception | None = None
    snapshot: bytes | None = None


class Asker:
    """An optimizer that is told and asked on a thread of its own, one question at a time.

    It is a cache of the log: after any exception it is thrown away, and the next question needs the log.

    Args:
        make: a fresh optimizer.
        answer: is given what came of a question, from that thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[], Optimizer],
        answer: Callable[[Asked], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._answer, self._clock = make, answer, clock
        self._optimizer: Optimizer | None = None
        self.is_busy = False

    @property
    def needs_log(self) -> bool:
        """Whether the next question must bring the log of all suggestions and tells until then."""
        return self._optimizer is None

    def ask(self, told: list[Told], log: Log | None, n_wanted: int = 1) -> None:
        """Tells the optimizer and asks it; returns at once. Not while `is_busy`.

        Args:
            told: what it has not been told yet.
            log: all before that, where `needs_log`; else None.
            n_wanted: suggestions at most; after the first only those that come at once.
        """
        self.is_busy = True

        def work() -> None:
            self._answer(self.answer(told, log, n_wanted))

        threading.Thread(target=work, daemon=True, name="greenshift-optimizer").start()

    def take(self, asked: Asked) -> list[Suggestion]:
        """Takes an answer in, on the thread that asked, and returns the suggestions.

        Raises:
            ServiceError: the optimizer failed.
        """
        self.is_busy = False
        if asked.error is not None:
            said = f"{type(asked.error).__name__}: {asked.error}"
            raise ServiceError(f"the optimizer failed: {said}") from asked.error
        return asked.suggestions

    def answer(self, told: list[Told], log: Log | None, n_wanted: int = 1) -> Asked:
        """What comes of a question as `ask` puts it, here and now."""
        started, was_fresh = self._clock(), self.needs_log
        suggestions: list[Suggestion] = []
        snapshot, failure = None, None
        try:
            optimizer = self._told(told, log)
            suggestions, snapshot = self._collected(optimizer, n_wanted), optimizer.snapshot()
        except Exception as error:  # noqa: BLE001 - raised again by the thread that asked
            self._optimizer, failure = None, error
        return Asked(told, suggestions, self._clock() - started, was_fresh, failure, snapshot)

    def _told(self, told: list[Told], log: Log | None) -> Optimizer:
        """The optimizer, which knows all by now."""
        if self._optimizer is None:
            optimizer = self._make()
            if log is not None:
                optimizer.replay(log.entries, log.snapshot)
            self._optimizer = optimizer
        for event in told:
            with TELL_SECONDS.time():
                self._optimizer.tell(event.trial_id, event.objectives, cost=event.cost, failure=event.failure)
        return self._optimizer

    def _collected(self, optimizer: Optimizer, n_wanted: int) -> list[Suggestion]:
        """One suggestion, and up to `n_wanted` as long as they come within a moment; none where there is none."""
        found: list[Suggestion] = []
        end = self._clock() + _COLLECT_SECONDS
        while not found or (len(found) < n_wanted and self._clock() < end):
            with ASK_SECONDS.time():
                suggestion = optimizer.ask()
            if suggestion is None:
                break
            found.append(suggestion)
        return found
