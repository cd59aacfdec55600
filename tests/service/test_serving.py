from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from subprocess import Popen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import REGISTRY

from service import cluster
from service.access import Access
from service.certificates import make_certificates
from service.client import Client
from service.errors import ConflictError, DamagedError, InputError, RefusedError, UnreachableError
from service.schema import StudyState
from service.serving import Serving, is_loopback, listening, serve, supervised
from service.store import Store, Tokens, alone
from tests.service.fakes import study_spec
from tests.service.processes import GREENSHIFT, descendants, have_ended, started, wait_until
from tests.service.store.test_damaged import damage_pages

# Where nobody answers; connecting is tried again and again.
NOWHERE = "tcp://127.0.0.1:9"


def here(tmp_path: Path, **changes: object) -> Serving:
    values = {"host": "127.0.0.1", "port": 0, "out": tmp_path / "out", "scheduler": Access(NOWHERE)} | changes
    return Serving(**values)  # type: ignore[arg-type]


@contextmanager
def serving(tmp_path: Path, *options: str) -> Iterator[tuple[Popen[bytes], str, Path]]:
    """`greenshift serve` as users start it, its URL and its log."""
    log = tmp_path / f"serve-{len(list(tmp_path.glob('serve-*.log')))}.log"
    command = [*GREENSHIFT, "serve", "--port", "0", "--out", str(tmp_path / "out"), *options]
    with started(*command, log=log, PYTHONUNBUFFERED="1") as process:
        wait_until(lambda: re.search(r"Serving at (\S+);", log.read_text()))
        yield process, re.findall(r"Serving at (\S+);", log.read_text())[-1], log


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"^port: {port} on 127.0.0.1 cannot be listened on: Address already in"):
            serve(here(tmp_path, port=port))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_data_sets_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^data_dir: must be a folder that is there, got {tmp_path}/nope"):
        serve(here(tmp_path, scheduler=None, data_dir=tmp_path / "nope"))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def https(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    folder = tmp_path / "https"
    folder.mkdir()
    key, start = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "greenshift")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    as_pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*as_pem))
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.slow
def test_https_is_spoken_with_those_who_trust_the_certificate(
    tmp_path: Path, https: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = https
    options = ("--https-certificate", str(certificate), "--https-key", str(key), "--scheduler", NOWHERE)
    with serving(tmp_path, *options) as (_, url, _):
        assert url.startswith("https://127.0.0.1:")
        with pytest.raises(UnreachableError, match="certificate verify failed"), Client(url) as client:
            client.health()
        monkeypatch.setenv("GREENSHIFT_CA", str(certificate))
        with Client(url) as client:
            assert client.health().status == "ok"


def test_a_certificate_that_cannot_be_used_is_refused_before_anything_is_made(
    tmp_path: Path, https: tuple[Path, Path]
) -> None:
    certificate, key = https
    with pytest.raises(InputError, match=f"^https_key: must be a file that is there, got {tmp_path}/nope"):
        serve(here(tmp_path, https=(certificate, tmp_path / "nope")))
    with pytest.raises(InputError, match="must be a certificate and its key"):
        serve(here(tmp_path, https=(key, key)))
    assert not (tmp_path / "out").exists()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^port: 0 on 192\.0\.2\.99 cannot be listened on"):
        serve(here(tmp_path, host="192.0.2.99"))


def test_other_machines_are_let_in_only_where_there_is_a_valid_token(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="greenshift token create"):
        serve(here(tmp_path, host="0.0.0.0"))
    with Store(tmp_path / "out" / "studies.sqlite") as store:
        Tokens(store).create_token("old")
        Tokens(store).revoke_token("old")
    with pytest.raises(RefusedError, match="no token yet"):
        serve(here(tmp_path, host="0.0.0.0"))


@pytest.mark.parametrize(
    ("host", "is_alone"), [("127.0.0.1", True), ("localhost", True), ("127.0.0.2", True), ("0.0.0.0", False)]
)
def test_loopback_is_what_the_socket_says(tmp_path: Path, host: str, is_alone: bool) -> None:
    with listening(here(tmp_path, host=host)) as listener:
        assert is_loopback(listener) is is_alone


@pytest.mark.parametrize(("days", "is_said"), [(29, True), (31, False)])
def test_when_certificates_end_is_shown_and_in_the_last_month_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, days: int, is_said: bool
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.5)
    end = make_certificates(tmp_path / "tls", days)
    scheduler = Access("tls://127.0.0.1:9", tmp_path / "tls")
    with Store(None) as store, supervised(here(tmp_path, scheduler=scheduler), store):
        assert REGISTRY.get_sample_value("greenshift_certificate_end_timestamp_seconds") == end.timestamp()
    # A service leaves one that still looks for its scheduler behind; the log of the next test is not its place.
    for thread in threading.enumerate():
        if thread.name == "supervisor":
            thread.join(timeout=120)
    said = f"the certificates in {tmp_path}/tls end on {end.date()}: `greenshift certs` makes others"
    assert (said in caplog.messages) is is_said


def test_a_store_has_one_service(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.sqlite"
    with Store(url) as store, alone(store), pytest.raises(ConflictError, match="has a service already"):
        serve(here(tmp_path, database_url=url))


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"^out: .* is no folder that can be written"):
        serve(here(tmp_path))


def test_a_store_that_is_damaged_while_it_serves_ends_the_service(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "studies.sqlite"
    with Store(path) as store:
        for _ in range(50):
            store.create_study(study_spec())
    # A test that waits for ever says nothing.
    late = threading.Timer(120, os.kill, (os.getpid(), signal.SIGTERM))

    def damage(url: str) -> None:
        damage_pages(path)
        threading.Thread(target=ask, args=(f"{url}/api/v1/studies",)).start()

    def ask(url: str) -> None:
        with suppress(OSError):
            get(url)

    late.start()
    try:
        with pytest.raises(
            DamagedError, match=r"^the store .*studies.sqlite is damaged \(database disk image is malfo"
        ):
            serve(here(tmp_path), on_start=damage)
        assert not late.finished.is_set()
    finally:
        late.cancel()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_service_whoever_still_listens(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with serving(tmp_path, "--scheduler", NOWHERE) as (process, url, log):
        assert json.loads(get(f"{url}/healthz"))["status"] == "ok"
        assert b"greenshift_cluster_connected 0.0" in get(f"{url}/metrics")
        process.send_signal(number)
        assert process.wait(timeout=60) == code
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_local_workers_end_with_the_service_also_where_it_is_killed(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with serving(tmp_path, "--local-workers", "1", "--log-format", "json") as (process, url, log):
            wait_until(lambda: b"greenshift_slots 1.0" in get(f"{url}/metrics"))
            children = descendants(process.pid)
            assert children
            process.send_signal(number)
            process.wait(timeout=60)
            assert have_ended(children)
        messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
        assert f"Serving at {url}; end with Ctrl-C." in messages


@pytest.mark.slow
def test_a_local_worker_that_is_killed_comes_back_and_its_study_goes_on_with_all_of_them(tmp_path: Path) -> None:
    study = str(Path(__file__).parent / "quick.yaml")
    with serving(tmp_path, "--local-workers", "2") as (process, url, log), Client(url) as client:
        handle = client.submit(study, n_trials=6)
        wait_until(lambda: handle.status()["n_trials"]["running"])
        nanny = next(iter(children_of(process.pid)))
        os.kill(nanny, signal.SIGKILL)
        wait_until(lambda: log.read_text().count("ended with code -9; starting again in 1 s") == 1)
        wait_until(lambda: b"greenshift_slots 2.0" in get(f"{url}/metrics"))
        assert handle.wait(timeout=240) is StudyState.COMPLETED
        assert handle.status()["n_trials"]["completed"] == 6
        workers = {worker.name for worker in client.workers().workers}
    assert workers == {"local-0", "local-1"}


def children_of(pid: int) -> set[int]:
    """Its own children, without theirs."""
    found = descendants(pid)
    return set(found) - {grandchild for child in found for grandchild in descendants(child)}
