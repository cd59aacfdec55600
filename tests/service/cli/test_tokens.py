from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from service.store import Store, Tokens, tables
from tests.service.cli.commands import Call, assert_refused

NAME = tables.tokens.c.name


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/here.sqlite"


def test_the_secret_of_a_token_is_all_that_is_printed(call: Call, url: str) -> None:
    secret = call("token", "create", "laptop", "--database-url", url).stdout.strip()
    with Store(url) as store:
        known = Tokens(store).check_token(secret)
    assert known is not None and known.name == "laptop"


def test_a_revoked_token_is_listed_and_valid_no_more(call: Call, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENSHIFT_DATABASE_URL", url)
    secret = call("token", "create", "laptop").stdout.strip()
    assert call("token", "revoke", "laptop").returncode == 0
    with Store(url) as store:
        assert Tokens(store).check_token(secret) is None
    (line,) = [line for line in call("token", "list").stdout.splitlines() if "laptop" in line]
    assert "never" in line and secret not in line


def test_without_a_url_it_is_the_store_of_serve(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENSHIFT_DATABASE_URL", raising=False)
    assert call("token", "create", "laptop").returncode == 0
    assert (tmp_path / "runs/service/studies.sqlite").is_file()


def test_the_store_is_named_and_only_a_token_makes_one(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GREENSHIFT_DATABASE_URL", raising=False)
    path = tmp_path / "runs/service/studies.sqlite"
    for arguments in (["list"], ["revoke", "laptop"]):
        done = call("token", *arguments)
        assert (done.returncode, list(tmp_path.iterdir())) == (3, [])
        assert done.stderr.startswith(f"error: database: there is no store {path}; ")
    for arguments in (["create", "laptop"], ["list"]):
        assert f"Store: {path}\n" in call("token", *arguments).stderr


def test_a_name_of_control_characters_is_refused_in_one_line(call: Call, url: str) -> None:
    done = call("token", "create", "a\n\x1b[2Jb", "--database-url", url)
    assert_refused(done, "token name must be printable", r"'a\n\x1b[2Jb'")
    assert len(done.stderr.splitlines()) == 2


def test_a_name_of_an_older_release_is_listed_as_text(call: Call, url: str) -> None:
    call("token", "create", "[red]laptop[/red]", "--database-url", url)
    call("token", "create", "phone", "--database-url", url)
    with Store(url) as store:
        store.database.write(lambda c: c.execute(update(tables.tokens).where(NAME == "phone").values(name="a\x1bb")))
    listed = call("token", "list", "--database-url", url).stdout
    assert "[red]laptop[/red]" in listed and r"a\x1bb" in listed and "\x1b" not in listed


def test_a_name_that_is_taken_or_unknown_is_refused(call: Call, url: str) -> None:
    call("token", "create", "laptop", "--database-url", url)
    assert_refused(call("token", "create", "laptop", "--database-url", url), "laptop", "must be new")
    done = call("token", "revoke", "phone", "--database-url", url)
    assert (done.returncode, done.stderr) == (
        3,
        f"Store: {url.removeprefix('sqlite:///')}\nerror: no valid token 'phone'\n",
    )
