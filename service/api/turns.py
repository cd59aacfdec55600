"""A lock that is had in turn: who comes again stands behind those who wait already."""

from __future__ import annotations

import threading


class Turns:
    """A lock for threads; a plain one can be taken again and again by the thread that has just let it go."""

    def __init__(self) -> None:
        # Who waits for the lock keeps the door, so that the others wait behind.
        self._door, self._lock = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._door:
            self._lock.acquire()

    def __exit__(self, *_exception: object) -> None:
        self._lock.release()
