"""What the environment says to every command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEFAULT_OUT = Path("runs/service")


@dataclass(frozen=True)
class Settings:
    """Each from the environment variable `GREENSHIFT_` and its name; None where that is missing or empty.

    Attributes:
        url: of the service that commands talk to.
        token: by which they show that they may.
        data_dir: folder of the data sets, on the machine of a worker.
        checkpoint_url: path or fsspec URL of checkpoints, which all workers see.
        database_url: of the service's store.
    """

    url: str | None = None
    token: str | None = None
    data_dir: str | None = None
    checkpoint_url: str | None = None
    database_url: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings of this process."""
        return cls(**{name: environment.get(variable(name)) or None for name in cls.__dataclass_fields__})


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"GREENSHIFT_{name.upper()}"


def database_of(out: Path) -> str:
    """The store of a service that is given no other: a SQLite file in its folder."""
    return f"sqlite:///{out.resolve() / 'studies.sqlite'}"
