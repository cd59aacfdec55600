"""How commands are interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130


def interrupt_on_signal() -> None:
    """SIGTERM interrupts a command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def leaving_on_signal() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the program on the spot meanwhile, for where it has nothing yet to put in order.

    An exception might be caught, or taken for another error, by what is being loaded.
    """

    def leave(_number: int, _frame: object) -> None:
        os.write(2, b"Interrupted.\n")
        os._exit(INTERRUPTED)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
