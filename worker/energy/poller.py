"""A background thread that calls something again and again while somebody wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Poller:
    """Calls `action` every `seconds` from `hold` to `release`, and a while longer, so that it need not start again.

    Args:
        action: must not raise.
        seconds: between the end of one call and the beginning of the next.
        linger_seconds: how long it goes on after the last release.
    """

    def __init__(self, action: Callable[[], None], seconds: float, linger_seconds: float = 30.0) -> None:
        self._action, self._seconds, self._linger_seconds = action, seconds, linger_seconds
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._n_holders = 0
        self._until = 0.0
        self._thread: threading.Thread | None = None

    def hold(self) -> None:
        """Begins the calls, unless they go on already."""
        with self._lock:
            self._n_holders += 1
            if self._thread is None:
                self._wake.clear()
                self._thread = threading.Thread(target=self._run, name="greenshift-energy", daemon=True)
                self._thread.start()

    def release(self) -> None:
        """Ends one `hold`."""
        with self._lock:
            self._n_holders -= 1
            self._until = time.monotonic() + self._linger_seconds
            if self._linger_seconds <= 0:
                self._wake.set()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._n_holders == 0 and time.monotonic() >= self._until:
                    self._thread = None
                    return
            self._action()
            self._wake.wait(self._seconds)
