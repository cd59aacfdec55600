"""Secrets by which programs show that they may use the HTTP API; the store knows their hashes alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, insert, select, update

from service.errors import InputError
from service.store.reader import Reader
from service.store.tables import tokens

# The part in the middle is no secret: it finds the row that the whole is compared with.
_SECRET = re.compile(r"gs_(?P<token_id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
# One write a request would be too many.
_USED_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Token:
    """What is known of a token, its secret excepted; times are None where it never happened."""

    token_id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class Tokens:
    """The tokens in a store.

    Args:
        store: where they lie.
    """

    def __init__(self, store: Reader) -> None:
        self._database = store.database

    def create_token(self, name: str) -> str:
        """The secret of a new token; it cannot be shown again.

        Raises:
            InputError: no name, one of more than 100 characters or of such that cannot be printed, or that of a token
                that is valid.
        """
        if not 0 < len(name) <= 100:
            raise InputError(f"token name must have 1..100 characters, got {len(name)}")
        if not name.isprintable() or name != name.strip():
            raise InputError(f"token name must be printable, without spaces around it, got {name!a}")
        token_id = secrets.token_hex(6)
        secret = f"gs_{token_id}_{secrets.token_urlsafe(32)}"
        values = {"token_id": token_id, "name": name, "secret_hash": _hash(secret), "created_at": datetime.now(UTC)}

        def create(connection: Connection) -> str:
            if connection.execute(_valid(name)).first() is not None:
                raise InputError(f"token name must be new, got {name!r}; revoke the token of this name first")
            connection.execute(insert(tokens).values(values))
            return secret

        return self._database.write(create)

    def revoke_token(self, name: str) -> None:
        """Makes the token of this name invalid from now on.

        Raises:
            KeyError: no valid token has this name.
        """

        def revoke(connection: Connection) -> None:
            rows = connection.execute(_valid(name)).mappings().all()
            if not rows:
                raise KeyError(f"no valid token {name!r}")
            ids = [row["token_id"] for row in rows]
            connection.execute(update(tokens).where(tokens.c.token_id.in_(ids)).values(revoked_at=datetime.now(UTC)))

        self._database.write(revoke)

    def tokens(self) -> list[Token]:
        """All tokens, revoked ones included, oldest first."""
        query = select(tokens).order_by(tokens.c.created_at, tokens.c.token_id)
        return [_token(row) for row in self._database.read(lambda c: c.execute(query).mappings().all())]

    def check_token(self, secret: str) -> Token | None:
        """The valid token with this secret, or None."""
        parts = _SECRET.fullmatch(secret)
        if parts is None:
            return None
        query = select(tokens).where(tokens.c.token_id == parts["token_id"])
        row = self._database.read(lambda c: c.execute(query).mappings().one_or_none())
        # Compared in constant time: how long it takes must not tell how much of a guess was right.
        if row is None or not hmac.compare_digest(row["secret_hash"], _hash(secret)) or row["revoked_at"] is not None:
            return None
        self._note_use(row)
        return _token(row)

    def _note_use(self, row: RowMapping) -> None:
        now = datetime.now(UTC)
        if row["last_used_at"] is None or now - row["last_used_at"] >= _USED_AGAIN:
            statement = update(tokens).where(tokens.c.token_id == row["token_id"]).values(last_used_at=now)
            self._database.write(lambda connection: connection.execute(statement))


def _valid(name: str) -> Select[Any]:
    return select(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None))


def _hash(secret: str) -> str:
    """SHA-256 suffices without salt or stretching: a secret has 256 random bits, which nobody guesses."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: RowMapping) -> Token:
    return Token(**{name: row[name] for name in Token.__dataclass_fields__})
