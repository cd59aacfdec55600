from __future__ import annotations

from pathlib import Path

import pytest

from service.access import Access
from service.cli.options import access_to, as_arguments
from service.errors import RefusedError
from tests.service.cli.commands import Call, assert_refused

PLAIN = "tcp://10.0.0.1:8786"


@pytest.mark.parametrize("command", [["run", "digits", "--scheduler"], ["worker"]], ids=" ".join)
def test_plain_tcp_to_another_machine_is_refused(call: Call, tmp_path: Path, command: list[str]) -> None:
    done = call(*command, PLAIN)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: scheduler: whoever reaches {PLAIN} can run code as you; use `greenshift cer")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["run", "digits", "--scheduler"], ["worker"]], ids=" ".join)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["10.0.0.1:8786"], "scheduler must be tcp://HOST:PORT"),
        (["tls://10.0.0.1:8786"], "needs --tls DIR or GREENSHIFT_TLS"),
        (["tls://10.0.0.1:8786", "--tls", "nowhere"], "nowhere/ca.pem does not exist"),
        (["tcp://127.0.0.1:8786", "--tls", "nowhere"], "scheduler must be tls://HOST:PORT"),
    ],
)
def test_a_scheduler_that_cannot_be_is_refused(call: Call, command: list[str], arguments: list[str], said: str) -> None:
    assert_refused(call(*command, *arguments), said)


def test_the_environment_names_the_certificates_by_default(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENSHIFT_TLS", "elsewhere")
    assert_refused(call("worker", "tls://10.0.0.1:8786"), "elsewhere/ca.pem does not exist")
    assert_refused(call("worker", "tls://10.0.0.1:8786", "--tls", "nowhere"), "nowhere/ca.pem does not exist")


def test_without_a_scheduler_nothing_is_said_of_certificates() -> None:
    assert access_to(None, Path("tls"), False) is None
    assert as_arguments(None) == []


def test_an_access_is_named_again_by_the_same_options() -> None:
    assert access_to(PLAIN, None, True) == Access(PLAIN, insecure=True)
    assert as_arguments(Access(PLAIN, insecure=True)) == ["--scheduler", PLAIN, "--insecure"]
    tls = Access("tls://gpu7:8786", Path("of/cluster"))
    assert as_arguments(tls) == ["--scheduler", "tls://gpu7:8786", "--tls", "of/cluster"]
    with pytest.raises(RefusedError):
        access_to(PLAIN, None, False)
