"""Errors of the service, and the exit code that each becomes.

ServiceError            5  the study failed
├── InputError          2  a study, a file or an option that cannot be
│   └── DamagedError    2  the file of a store is damaged; it is to be restored
├── ClusterLostError    5  the scheduler is gone; the study can go on when it is back
├── NoWorkerError       5  no worker is there; there may be one later
├── NotFoundError       3  there is no such study
├── RefusedError        3  what could be done and is not, because it would do harm
│   └── ConflictError   3  a folder or a store is another study's, another run's or another service's
└── UnreachableError    4  no service answers at the address
"""

from __future__ import annotations


class ServiceError(Exception):
    """Anything that the service can name; its message is one line for a person."""

    exit_code = 5


class InputError(ServiceError, ValueError):
    """The user asked for something that cannot be; says the key, the value and what is allowed."""

    exit_code = 2


class DamagedError(InputError):
    """The file of a store is damaged; nothing that is tried again helps, and it is to be restored."""


class ClusterLostError(ServiceError):
    """The Dask scheduler is gone; what the store holds goes on once there is one again."""


class NoWorkerError(ServiceError):
    """No worker is there that could run a trial; there may be one later."""


class NotFoundError(ServiceError):
    """There is no such study."""

    exit_code = 3


class RefusedError(ServiceError):
    """What could be done and is not, because it would do harm; says what to do instead."""

    exit_code = 3


class ConflictError(RefusedError):
    """A folder or a store is another study's, another run's or another service's."""


class UnreachableError(ServiceError):
    """No service answers at the address; nothing is known of what it would have said."""

    exit_code = 4
