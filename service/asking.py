"""Asking the optimizer takes up to seconds, so it happens on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import ServiceError
from service.optimizer import Optimizer, Suggestion, Told
from service.telemetry import ASK_SECONDS, TELL_SECONDS


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
        suggestion: None is nothing to do until it is told more.
        seconds: that it took.
        was_fresh: it had just been built from the log, so that building it anew would not help.
        snapshot: of the optimizer behind this answer.
    """

    told: list[Told]
    suggestion: Suggestion | None
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
    """

    def __init__(self, make: Callable[[], Optimizer], answer: Callable[[Asked], None]) -> None:
        self._make, self._answer = make, answer
        self._optimizer: Optimizer | None = None
        self.is_busy = False

    @property
    def needs_log(self) -> bool:
        """Whether the next question must bring the log of all suggestions and tells until then."""
        return self._optimizer is None

    def ask(self, told: list[Told], log: Log | None) -> None:
        """Tells the optimizer and asks it; returns at once. Not while `is_busy`.

        Args:
            told: what it has not been told yet.
            log: all before that, where `needs_log`; else None.
        """
        self.is_busy = True
        threading.Thread(target=self._work, args=(told, log), daemon=True, name="greenshift-optimizer").start()

    def take(self, asked: Asked) -> Suggestion | None:
        """Takes an answer in, on the thread that asked, and returns the suggestion.

        Raises:
            ServiceError: the optimizer failed.
        """
        self.is_busy = False
        if asked.error is not None:
            said = f"{type(asked.error).__name__}: {asked.error}"
            raise ServiceError(f"the optimizer failed: {said}") from asked.error
        return asked.suggestion

    def _work(self, told: list[Told], log: Log | None) -> None:
        started, was_fresh = time.monotonic(), self.needs_log
        suggestion, snapshot, failure = None, None, None
        try:
            suggestion, snapshot = self._try(told, log)
        except Exception as error:  # noqa: BLE001 - raised again by the thread that asked
            self._optimizer, failure = None, error
        self._answer(Asked(told, suggestion, time.monotonic() - started, was_fresh, failure, snapshot))

    def _try(self, told: list[Told], log: Log | None) -> tuple[Suggestion | None, bytes | None]:
        if self._optimizer is None:
            optimizer = self._make()
            if log is not None:
                optimizer.replay(log.entries, log.snapshot)
            self._optimizer = optimizer
        for event in told:
            with TELL_SECONDS.time():
                self._optimizer.tell(event.trial_id, event.objectives, cost=event.cost, failure=event.failure)
        with ASK_SECONDS.time():
            return self._optimizer.ask(), self._optimizer.snapshot()
