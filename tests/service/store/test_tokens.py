from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from service.errors import InputError
from service.store import Store, Tokens, tables


@pytest.fixture
def tokens(store: Store) -> Tokens:
    return Tokens(store)


def test_a_secret_is_known_again(tokens: Tokens) -> None:
    laptop, cluster = tokens.create_token("laptop"), tokens.create_token("cluster")
    assert [t.name if (t := tokens.check_token(secret)) else None for secret in (cluster, laptop)] == [
        "cluster",
        "laptop",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: "",
        lambda secret: secret[:-1],
        lambda secret: secret + "x",
        lambda secret: secret.removeprefix("gs_"),
        lambda secret: "_".join(secret.split("_", 2)[:2]),
        lambda secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        lambda secret: secret.swapcase(),
        lambda secret: "gs_' OR 1=1_x",
        lambda secret: secret.replace("gs_", "gs_\x00"),
        lambda secret: secret + "\n",
    ],
)
def test_anything_else_is_not(tokens: Tokens, change) -> None:
    assert tokens.check_token(change(tokens.create_token("laptop"))) is None


def test_a_secret_lies_nowhere_in_the_store(store: Store, tokens: Tokens) -> None:
    secret = tokens.create_token("laptop")
    rows = store.database.read(lambda c: [dict(r) for r in c.execute(tables.tokens.select()).mappings()])
    random = secret.split("_", 2)[2]
    assert len(rows) == 1
    assert len(random) >= 20
    assert random not in str(rows)
    assert len(rows[0]["secret_hash"]) == 64


def test_secrets_differ(tokens: Tokens) -> None:
    assert len({tokens.create_token(str(i)) for i in range(20)}) == 20


def test_a_revoked_token_is_valid_no_more_and_still_listed(tokens: Tokens) -> None:
    laptop, cluster = tokens.create_token("laptop"), tokens.create_token("cluster")
    tokens.revoke_token("laptop")
    assert tokens.check_token(laptop) is None
    assert tokens.check_token(cluster) is not None
    assert [(t.name, t.revoked_at is None) for t in tokens.tokens()] == [("laptop", False), ("cluster", True)]


def test_a_name_may_be_taken_again_once_its_token_is_revoked(tokens: Tokens) -> None:
    old = tokens.create_token("laptop")
    with pytest.raises(InputError, match="token name must be new, got 'laptop'; revoke"):
        tokens.create_token("laptop")
    tokens.revoke_token("laptop")
    new = tokens.create_token("laptop")
    assert (tokens.check_token(old), tokens.check_token(new) is None) == (None, False)


def test_only_a_valid_token_can_be_revoked(tokens: Tokens) -> None:
    tokens.create_token("laptop")
    tokens.revoke_token("laptop")
    for name in ("laptop", "x"):
        with pytest.raises(KeyError, match=f"no valid token '{name}'"):
            tokens.revoke_token(name)


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_name_has_a_length(tokens: Tokens, name: str) -> None:
    with pytest.raises(InputError, match=rf"token name must have 1..100 characters, got {len(name)}"):
        tokens.create_token(name)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "a\tb", "\x00", " ", "laptop ", "\u202etxt", "a\u2028b"])
def test_a_name_can_be_printed(tokens: Tokens, name: str) -> None:
    with pytest.raises(InputError, match="token name must be printable") as caught:
        tokens.create_token(name)
    assert str(caught.value).isprintable()
    assert tokens.tokens() == []


def test_a_name_may_have_spaces_and_letters_of_any_language(tokens: Tokens) -> None:
    tokens.create_token("Jürgens Rechner 机")
    assert tokens.tokens()[0].name == "Jürgens Rechner 机"


def test_the_last_use_is_noted_but_not_at_every_request(store: Store, tokens: Tokens) -> None:
    secret = tokens.create_token("laptop")
    assert tokens.tokens()[0].last_used_at is None
    tokens.check_token("gs_x_y")
    assert tokens.tokens()[0].last_used_at is None

    tokens.check_token(secret)
    used = tokens.tokens()[0].last_used_at
    assert used is not None
    assert datetime.now(UTC) - used < timedelta(minutes=1)
    tokens.check_token(secret)
    assert tokens.tokens()[0].last_used_at == used

    long_ago = used - timedelta(minutes=2)
    store.database.write(lambda c: c.execute(update(tables.tokens).values(last_used_at=long_ago)))
    tokens.check_token(secret)
    assert tokens.tokens()[0].last_used_at >= used
