from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.signals import leaving_on_signal
from service.schema import StudySpec
from service.store import Store
from service.study_run import write_spec
from tests.service.fakes import completed
from tests.service.processes import GREENSHIFT, started, wait_until
from tests.service.served import finish

_LOADS = """
import signal
from service.cli.signals import leaving_on_signal
with leaving_on_signal():
    try:
        signal.raise_signal(signal.{name})
    except BaseException:
        print("lost")
"""
# What Python runs first: a worker comes no further, so that no cluster ever stands.
_NO_WORKER = """
import sys, time
if "worker" in sys.orig_argv:
    time.sleep(600)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_what_is_being_loaded_cannot_lose_a_signal(name: str) -> None:
    code = _LOADS.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_what_signals_did_before_they_do_again() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with leaving_on_signal():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_that_is_ended_before_its_cluster_stands_leaves_one_line_and_no_folder(
    tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    assert _interrupted_without_workers(tmp_path, out, number) == "starting workers ...\nInterrupted.\n"
    assert not out.exists()


@pytest.mark.slow
def test_a_run_that_goes_on_and_is_ended_before_its_cluster_stands_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    spec = StudySpec.load("digits")
    out.mkdir()
    with Store(out / "study.sqlite") as store:
        finish(store, store.create_study(spec), completed("00001"))
    write_spec(spec, out)
    said = _interrupted_without_workers(tmp_path, out, signal.SIGINT)
    again = f"greenshift run {out}/study.yaml --out {out} --workers 1"
    assert said == f"starting workers ...\nStopped. Every finished trial is kept; go on with: {again}\n"
    assert (out / "study.sqlite").is_file()


def _interrupted_without_workers(folder: Path, out: Path, number: signal.Signals) -> str:
    """What a run says that is sent a signal while it waits for its workers."""
    log, site = folder / "log", folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_NO_WORKER)
    path = os.pathsep.join([str(site), *sys.path])
    command = [*GREENSHIFT, "run", "digits", "--workers", "1", "--out", str(out)]
    with started(*command, log=log, PYTHONPATH=path) as process:
        wait_until(lambda: "starting workers" in log.read_text())
        assert out.is_dir()
        process.send_signal(number)
        assert process.wait(120) == 130
    return log.read_text()
