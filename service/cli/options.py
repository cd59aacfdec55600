"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.access import Access

Scheduler = Annotated[
    str | None, typer.Option(help="A running Dask scheduler, such as tcp://host:8786 or tls://host:8786.")
]
Tls = Annotated[
    Path | None,
    typer.Option(envvar="GREENSHIFT_TLS", help="Folder of certificates for tls://, made by `greenshift certs`."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Plain tcp:// to another machine, on a network you trust.")]


def access_to(scheduler: str | None, tls: Path | None, insecure: bool) -> Access | None:
    """The scheduler that the options name; None where they name none, and processes on this machine are meant.

    Raises:
        InputError: an address that is none, or TLS without certificates and the other way round.
        RefusedError: plain tcp:// to another machine.
    """
    if scheduler is None:
        return None
    access = Access(scheduler, tls, insecure)
    access.files("client")
    return access


def as_arguments(access: Access | None) -> list[str]:
    """The options that name it again."""
    if access is None:
        return []
    tls = [] if access.tls is None else ["--tls", str(access.tls)]
    return ["--scheduler", access.address, *tls, *(["--insecure"] if access.insecure else [])]
