"""Signals that wait for what must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int
_HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect on leaving, for what opens something that has to be closed again.

    Interrupted half-way through its constructor, an object is in nobody's hands. A second signal waits no longer.
    Other threads than the main one are never interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        handler = before[number]
        if held and callable(handler):
            handler(number, frame)
        held.append(number)

    # What is not Python's own is None, and cannot be put back.
    before: dict[int, Handler] = {
        number: handler for number in _HELD if (handler := signal.getsignal(number)) is not None
    }
    try:
        _set(dict.fromkeys(before, hold))
        yield
    finally:
        _set(before)
        if held:
            signal.raise_signal(held[0])


def _set(handlers: Mapping[int, Handler]) -> None:
    """All of them or none: a signal that came between two would find the one and not the other."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, handlers)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
