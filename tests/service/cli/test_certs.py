from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from distributed.cli.dask_scheduler import main as dask_scheduler
from typer.main import get_command

from service.access import Access
from service.cli.app import app
from tests.service.cli.commands import Call, assert_refused


def test_certificates_are_made_and_the_commands_that_use_them_are_shown(call: Call, tmp_path: Path) -> None:
    done = call("certs", "of cluster", "--days", "30")
    folder = tmp_path / "of cluster"
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert f"Made {folder}, valid until " in said[0]
    assert said[1].removeprefix("It holds ").removesuffix(".").split(", ") == [
        "ca.pem", "scheduler.pem", "scheduler.key", "worker.pem", "worker.key", "client.pem", "client.key",
    ]  # fmt: skip
    assert {path.name for path in folder.iterdir()} == set(said[1][9:-1].split(", "))
    # Every command that is shown is one that its program understands, and names files that exist.
    scheduler, worker, serve, run = (shlex.split(line) for line in said[-4:])
    assert scheduler[:2] == ["dask", "scheduler"]
    understood = dask_scheduler.make_context("dask scheduler", scheduler[2:]).params
    assert {Path(understood[name]) for name in ("tls_ca_file", "tls_cert", "tls_key")} == {
        folder / name for name in ("ca.pem", "scheduler.pem", "scheduler.key")
    }
    commands = get_command(app).commands  # type: ignore[attr-defined]
    ours = [commands[words[1]].make_context(words[1], words[2:]).params for words in (worker, serve, run)]
    for parameters, role in zip(ours, ("worker", "client", "client"), strict=True):
        assert Access(parameters["scheduler"], parameters["tls"]).files(role) is not None


def test_a_folder_that_holds_certificates_is_not_touched(call: Call, tmp_path: Path) -> None:
    call("certs", "tls")
    before = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    done = call("certs", "tls")
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        done.stderr == "error: certs: tls/ca.pem exists already, and a cluster may be using it; name another folder\n"
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == before


@pytest.mark.parametrize("days", ["0", "3651", "many"])
def test_days_that_cannot_be_are_refused(call: Call, tmp_path: Path, days: str) -> None:
    assert_refused(call("certs", "tls", "--days", days), "days", days)
    assert list(tmp_path.iterdir()) == []
