"""Where a reader of a study's events stands, so that a lost connection loses and repeats none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
from pydantic import ValidationError

from service.client.calls import PATIENCE_SECONDS, of
from service.client.connection import failure, unreachable
from service.errors import UnreachableError
from service.wire import API, Event

MAX_EVENT_BYTES = 16 * 2**20
# The service shows every fifteen seconds that the connection lives.
_SILENCE_SECONDS = 45.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0


class Following:
    """One reader of one study.

    Args:
        study_id: whose events.
        after: `seq` of the last event that is known already.
        follow: wait for what comes, until the study has ended; else read what is there.
        clock: monotonic seconds.

    Attributes:
        is_over: nothing more is to come.
    """

    def __init__(self, study_id: str, after: int, *, follow: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = f"{API}{of(study_id, 'events')}"
        self.is_over = False
        self._after, self._follow, self._clock = after, follow, clock
        self._pause = _FIRST_PAUSE_SECONDS
        # None until the service has answered once.
        self._heard: float | None = None

    @property
    def request(self) -> dict[str, Any]:
        """What is asked for, from where this reader stands."""
        params = {"after": self._after, "follow": self._follow, "until_end": self._follow}
        return {"params": params, "timeout": httpx2.Timeout(10.0, read=_SILENCE_SECONDS)}

    def take(self, message: httpx2.ServerSentEvent) -> Event | None:
        """The event in a message; None where it is new to nobody."""
        self._hear()
        if message.event == "end":
            self.is_over = True
            return None
        try:
            event = Event.model_validate_json(message.data)
        except ValidationError as error:
            raise UnreachableError(f"{self.path}: the service sends no events of this version") from error
        if event.seq <= self._after:
            return None
        self._after = event.seq
        return event

    def check(self, response: httpx2.Response) -> bool:
        """Whether a response, read where it is no success, streams events; False where it may do so later.

        Raises:
            ServiceError: the service refuses.
        """
        if response.is_success:
            self._hear()
            return True
        if response.status_code not in (429, 503):
            raise failure(response)
        return False

    def lost(self, url: httpx2.URL, error: Exception | None = None) -> float:
        """Seconds until the service should be asked again, after the stream has broken off.

        Raises:
            UnreachableError: it never answered, or not for a minute.
        """
        if self._heard is None or self._clock() - self._heard > PATIENCE_SECONDS:
            raise unreachable(url, error or ConnectionError("the stream of events breaks off")) from error
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        return pause

    def _hear(self) -> None:
        self._heard, self._pause = self._clock(), _FIRST_PAUSE_SECONDS
