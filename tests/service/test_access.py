from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.access import Access
from service.certificates import make_certificates
from service.errors import InputError, RefusedError


@pytest.mark.parametrize(
    "address",
    [
        "",
        "here",
        "nonsense://x:1",
        "tcp://",
        "tcp://h",
        "tcp://h:port",
        "tcp://h:0",
        "tcp://h:99999",
        "tcp://h:1/x",
        "tcp://a..b:1",
    ],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError) as caught:
        Access(address)
    assert str(caught.value) == f"scheduler must be tcp://HOST:PORT or tls://HOST:PORT, got {address!r}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "[::1]"])
def test_this_machine_may_be_reached_without_tls(host: str) -> None:
    access = Access(f"tcp://{host}:8786")
    assert (access.host, access.port, access.files("client")) == (host.strip("[]"), 8786, None)


@pytest.mark.parametrize("host", ["10.0.0.1", "gpu7", "0.0.0.0", "localhost.evil.org", "[fe80::1]"])
def test_another_machine_is_reached_without_tls_only_by_those_who_insist(host: str) -> None:
    with pytest.raises(RefusedError, match=r"greenshift certs.*--insecure") as caught:
        Access(f"tcp://{host}:8786")
    assert caught.value.exit_code == 3
    assert Access(f"tcp://{host}:8786", insecure=True).host == host.strip("[]")


def test_tls_needs_certificates_and_certificates_need_tls(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tls: tls://gpu7:8786 needs --tls DIR or GREENSHIFT_TLS"):
        Access("tls://gpu7:8786")
    with pytest.raises(InputError, match=r"scheduler must be tls://HOST:PORT with certificates"):
        Access("tcp://127.0.0.1:8786", tmp_path)


def test_the_files_of_a_role_are_absolute_and_those_of_the_others_are_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificates(tmp_path / "tls")
    for path in [*(tmp_path / "tls").glob("client.*"), *(tmp_path / "tls").glob("scheduler.*")]:
        path.unlink()
    monkeypatch.chdir(tmp_path)
    access = Access("tls://gpu7:8786", Path("tls"))
    files = access.files("worker")
    assert files is not None
    folder = tmp_path / "tls"
    assert (files.ca, files.certificate, files.key) == (
        folder / "ca.pem",
        folder / "worker.pem",
        folder / "worker.key",
    )
    with pytest.raises(InputError, match=r"^tls: .*client\.pem does not exist; `greenshift certs DIR` makes such"):
        access.files("client")


def test_a_key_that_is_not_that_of_the_certificate_is_refused(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls")
    shutil.copy(tmp_path / "tls" / "worker.key", tmp_path / "tls" / "client.key")
    with pytest.raises(InputError, match=r"^tls: .*client\.pem and client\.key cannot be used: .*") as caught:
        Access("tls://gpu7:8786", tmp_path / "tls").files("client")
    assert len(str(caught.value).splitlines()) == 1
