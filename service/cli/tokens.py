"""The commands `greenshift token`: who may use the service from another machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer

from service.cli.tables import add_row, column, print_table, table_of
from service.errors import NotFoundError
from service.settings import DEFAULT_OUT, Settings, database_of
from service.store import Store, Tokens
from service.store.database import file_of

token = typer.Typer(
    help="Makes, lists and revokes tokens, by which programs may use the service.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="What the token is called: 1 to 100 printable characters.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="Store of the service; default GREENSHIFT_DATABASE_URL, else that of `greenshift serve`."),
]


@token.command()
def create(name: Name, database_url: DatabaseUrl = None) -> None:
    """Makes a token and prints its secret, once."""
    url = _url(database_url)
    if url == database_of(DEFAULT_OUT):
        DEFAULT_OUT.mkdir(parents=True, exist_ok=True)
    with _tokens(url) as tokens:
        typer.echo(tokens.create_token(name))
    typer.echo("Keep it: it cannot be shown again. Programs read it from GREENSHIFT_TOKEN.", err=True)


@token.command()
def revoke(name: Name, database_url: DatabaseUrl = None) -> None:
    """Makes a token invalid, at once."""
    with _tokens(_existing(database_url)) as tokens:
        try:
            tokens.revoke_token(name)
        except KeyError as error:
            raise NotFoundError(str(error.args[0])) from error
    typer.echo(f"Revoked {name}.")


@token.command("list")
def list_(database_url: DatabaseUrl = None) -> None:
    """Lists all tokens, revoked ones included; secrets are known to nobody."""
    table = table_of(*map(column, ("name", "created", "last used", "revoked")))
    with _tokens(_existing(database_url)) as tokens:
        for known in tokens.tokens():
            add_row(table, _shown(known.name), _day(known.created_at), _day(known.last_used_at), _day(known.revoked_at))
    print_table(table, empty="There is no token yet; `greenshift token create NAME` makes one.")


@contextmanager
def _tokens(url: str) -> Iterator[Tokens]:
    """Those of a store, which is named: it may be another than that of the service."""
    with Store(url) as store:
        typer.echo(f"Store: {store.database.name}", err=True)
        yield Tokens(store)


def _url(database_url: str | None) -> str:
    return database_url or Settings.from_environment().database_url or database_of(DEFAULT_OUT)


def _existing(database_url: str | None) -> str:
    """The URL of a store that is there: only who makes a token makes one."""
    url = _url(database_url)
    file = file_of(url)
    if file is not None and not file.exists():
        raise NotFoundError(f"database: there is no store {file}; name that of the service by --database-url")
    return url


def _shown(name: str) -> str:
    """Without anything that a terminal obeys."""
    return name if name.isprintable() else ascii(name)


def _day(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
