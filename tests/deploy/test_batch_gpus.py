"""Jobs of batch systems that hide no GPU: each shell becomes one worker on one GPU that nobody else computes on."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = [DEPLOY / "pbs" / "worker.pbs", DEPLOY / "sge" / "worker.sge"]
# GPUs of a node, one a line; and those that somebody computes on.
NVIDIA_SMI = """#!/bin/sh
case "$*" in
    *compute-apps*) id=${1#--id=}; grep --quiet "$id" "$NODE/busy" && echo 4711; exit 0 ;;
    *) cat "$NODE/gpus" ;;
esac
"""
# In place of the worker: says what it was given, and lives until it is told to end.
WORKER = '#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES $GREENSHIFT_DATA_DIR"\nexec sleep 600\n'


@pytest.fixture
def node() -> Iterator[Path]:
    """A node of three GPUs, which are like no others; every user may look at it."""
    with tempfile.TemporaryDirectory() as name:
        yield from _node(Path(name))


def _node(folder: Path) -> Iterator[Path]:
    folder.chmod(0o755)
    for name, text in (("nvidia-smi", NVIDIA_SMI), ("greenshift", WORKER)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    gpus = [f"GPU-{uuid.uuid4()}" for _ in range(3)]
    (folder / "gpus").write_text("\n".join(gpus) + "\n")
    (folder / "busy").touch()
    yield folder
    for gpu in gpus:
        lock(gpu).unlink(missing_ok=True)


def lock(gpu: str) -> Path:
    return Path(f"/tmp/greenshift-{gpu}.lock")


@contextmanager
def job(script: Path, node: Path, user: int | None = None, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A job of this script on the node, until the end of the block; of this user, who keeps files to himself."""
    lines = [line for line in script.read_text().splitlines() if not line.startswith("source ")]
    shared = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    shared |= {"PATH": f"{node}:/usr/bin:/bin", "NODE": str(node), "PBS_JOBID": "7.server", "JOB_ID": "7"}
    process = subprocess.Popen(
        ["bash", "-c", "\n".join(lines)],
        env=shared | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user=user,
        umask=0o077,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            # To all: `timeout` forgets who it has begun where it is told to end in its first moment.
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def told(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.suffix)
def test_two_jobs_of_a_node_that_hides_nothing_get_a_gpu_each_and_none_that_is_busy(script: Path, node: Path) -> None:
    first, second, third = (node / "gpus").read_text().split()
    (node / "busy").write_text(first)
    with job(script, node) as one, job(script, node) as two:
        chosen = [told(one)[0], told(two)[0]]
        assert sorted(chosen) == sorted([second, third])
        with job(script, node) as three:
            assert three.wait(timeout=60) == 1
            assert three.stderr is not None
            assert "is free" in three.stderr.read()
    with job(script, node) as again:
        assert told(again)[0] == second


def test_whoever_has_begun_with_a_gpu_everybody_can_see_that_it_is_taken(node: Path) -> None:
    first, *_ = (node / "gpus").read_text().split()
    with job(SCRIPTS[0], node) as mine:
        assert told(mine)[0] == first
        assert lock(first).stat().st_mode & 0o777 == 0o444
    if os.getuid() != 0:
        pytest.skip("NOT ROOT: whether jobs of two users take two GPUs is NOT TESTED")
    with job(SCRIPTS[0], node, user=65_534) as theirs, job(SCRIPTS[0], node, user=65_533) as others:
        chosen = [told(theirs)[0], told(others)[0]]
        assert first in chosen and len(set(chosen)) == 2
        with job(SCRIPTS[0], node) as mine:
            assert told(mine)[0] not in chosen


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.suffix)
def test_what_the_site_has_chosen_stays(script: Path, node: Path) -> None:
    with job(script, node, CUDA_VISIBLE_DEVICES="1") as process:
        assert told(process) == ["1", "/shared/greenshift/data"]
