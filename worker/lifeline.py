"""Ties the life of a process to that of the one that started it, and to nothing else."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Makes the kernel kill this process when the thread that started it ends; ends it now if that is over already.

    Elsewhere than on Linux it does nothing, and the end of a pipe has to tell.

    Args:
        parent: process id of whoever started this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def leave_signals() -> None:
    """Lives on where a batch system tells all processes of a job to end: whoever started this one says when."""
    own = os.getpid()

    def heed(number: int, _frame: object) -> None:
        # No SIG_IGN, which programs that a task starts would inherit; and a fork of this process ends as it should.
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heed)
