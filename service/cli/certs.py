"""The command `greenshift certs`: certificates for a Dask cluster, and the commands that use them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, get_args

import typer

from service.access import Role, TlsFiles
from service.certificates import make_certificates

_PORT = 8786


def certs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="For how many days they are valid.")] = 365,
) -> None:
    """Makes certificates with which a scheduler, its workers and its clients know each other."""
    end = make_certificates(folder, days)
    typer.echo("\n".join(lines(folder.resolve(), f"{end:%Y-%m-%d}")))


def lines(folder: Path, end: str) -> list[str]:
    """What to do with the folder, and with which commands."""
    files, where = TlsFiles(folder, "scheduler"), shlex.quote(str(folder))
    tls = ["--tls-ca-file", str(files.ca), "--tls-cert", str(files.certificate), "--tls-key", str(files.key)]
    names = [files.ca.name, *(f"{role}.{kind}" for role in get_args(Role) for kind in ("pem", "key"))]
    return [
        f"Made {folder}, valid until {end}. Whoever can read a .key of it can run code on the whole cluster.",
        f"It holds {', '.join(names)}.",
        "Copy to each machine ca.pem and the two files of its role (scheduler, worker, client), and use them there:",
        f"  dask scheduler --host HOST --port {_PORT} --dashboard-address 127.0.0.1:8787 {shlex.join(tls)}",
        f"  greenshift worker tls://HOST:{_PORT} --tls {where}",
        f"  greenshift serve --scheduler tls://HOST:{_PORT} --tls {where}",
        f"  greenshift run STUDY --scheduler tls://HOST:{_PORT} --tls {where}",
    ]
