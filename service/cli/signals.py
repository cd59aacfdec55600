"""How a command that goes on for long is interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable

INTERRUPTED = 130


def stop_on_signal(stop: Callable[[], None]) -> None:
    """The first Ctrl-C or SIGTERM calls `stop`, for a clean end; a second one ends the program at once."""

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def noted_signals(stop: Callable[[], None]) -> list[int]:
    """Every Ctrl-C and SIGTERM calls `stop`; returns where their numbers will be written down."""
    signals: list[int] = []

    def handle(number: int, _frame: object) -> None:
        signals.append(number)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return signals
