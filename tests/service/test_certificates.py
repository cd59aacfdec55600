from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.certificates import make_certificates
from service.errors import InputError, RefusedError

FILES = {"ca.pem", *(f"{role}.{kind}" for role in ("scheduler", "worker", "client") for kind in ("pem", "key"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "of" / "ours"
    make_certificates(folder)
    return folder


def context(folder: Path, role: str, authority: Path, *, is_called: bool) -> ssl.SSLContext:
    """As Dask makes it, and strict besides."""
    purpose = ssl.Purpose.CLIENT_AUTH if is_called else ssl.Purpose.SERVER_AUTH
    found = ssl.create_default_context(purpose, cafile=str(authority / "ca.pem"))
    found.load_cert_chain(folder / f"{role}.pem", folder / f"{role}.key")
    found.check_hostname, found.verify_mode = False, ssl.CERT_REQUIRED
    found.verify_flags |= ssl.VERIFY_X509_STRICT
    return found


def shake_hands(caller: ssl.SSLContext, called: ssl.SSLContext) -> None:
    """A handshake in memory.

    Raises:
        SSLError: one of them does not trust the other.
    """
    to_caller, to_called = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = caller.wrap_bio(to_caller, to_called)
    theirs = called.wrap_bio(to_called, to_caller, server_side=True)
    waiting = [ours, theirs]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    # In TLS 1.3 a caller that was not accepted learns it when it reads.
    theirs.write(b"hello")
    assert ours.read() == b"hello"


@pytest.mark.parametrize(
    ("caller", "called"), [("client", "scheduler"), ("worker", "scheduler"), ("scheduler", "worker")]
)
def test_parties_of_one_authority_trust_each_other(folder: Path, caller: str, called: str) -> None:
    shake_hands(context(folder, caller, folder, is_called=False), context(folder, called, folder, is_called=True))


def test_a_client_cannot_pose_as_a_scheduler(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake_hands(
            context(folder, "worker", folder, is_called=False), context(folder, "client", folder, is_called=True)
        )


def test_parties_of_two_authorities_trust_each_other_in_neither_direction(folder: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    scheduler = context(folder, "scheduler", folder, is_called=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context(tmp_path, "client", tmp_path, is_called=False), scheduler)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context(tmp_path, "client", folder, is_called=False), scheduler)


def test_keys_are_for_their_owner_only_and_that_of_the_authority_is_not_kept(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert set(modes) == FILES
    assert {name: mode for name, mode in modes.items() if name.endswith(".key")} == {
        "scheduler.key": 0o600,
        "worker.key": 0o600,
        "client.key": 0o600,
    }
    assert folder.stat().st_mode & 0o777 == 0o700


def test_certificates_are_valid_for_as_many_days_as_asked(tmp_path: Path) -> None:
    end = make_certificates(tmp_path, days=2)
    assert timedelta(days=2) - timedelta(seconds=30) < end - datetime.now(UTC) <= timedelta(days=2)
    old = tmp_path / "old"
    make_certificates(old, days=0)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(context(old, "client", old, is_called=False), context(old, "scheduler", old, is_called=True))


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RefusedError, match=f"^certs: {tmp_path}/{name} exists already"):
        make_certificates(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file/tls cannot be written: Not a directory"):
        make_certificates(tmp_path / "file" / "tls")


def test_a_careless_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_certificates(tmp_path / "tls")
    finally:
        os.umask(before)
    assert (tmp_path / "tls" / "worker.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
