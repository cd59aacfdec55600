"""Errors of a worker.

WorkerError
├── ConfigurationError   the trial asks for what cannot be: a network, a depth, a data folder
├── DivergedError        training left the finite numbers
├── StoppedError         somebody asked the trial to stop
├── ChildError           the process of its own died over something else than a trial
└── UnreadableError      an energy sensor does not answer; never leaves worker.energy
"""

from __future__ import annotations

from worker.schema import Flag


class WorkerError(Exception):
    """Anything that a worker can name."""


class ConfigurationError(WorkerError, ValueError):
    """The trial asks for something that does not exist; running it again cannot help."""


class DivergedError(WorkerError):
    """The training loss is NaN or infinite."""


class StoppedError(WorkerError):
    """The trial was asked to stop before it was done."""


class ChildError(WorkerError, RuntimeError):
    """The process that trials run in died where it was asked for facts."""


class UnreadableError(WorkerError):
    """A sensor does not answer.

    Attributes:
        flag: what the energy report says of it.
    """

    def __init__(self, flag: Flag, message: str) -> None:
        super().__init__(message)
        self.flag: Flag = flag
