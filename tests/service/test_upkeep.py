from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service import upkeep
from service.errors import InputError
from service.upkeep import KeptUp, Upkeep, pause_seconds
from tests.service.processes import have_ended

Process = subprocess.Popen[bytes]


class Starter:
    """Starts a shell script, as often as asked; `processes` are those it has started."""

    def __init__(self, script: str, errors: tuple[Exception, ...] = ()) -> None:
        self._script, self._errors = script, list(errors)
        self.processes: list[Process] = []
        self.has_started = threading.Semaphore(0)

    def __call__(self) -> Process:
        if self._errors:
            raise self._errors.pop(0)
        process = subprocess.Popen(["sh", "-c", self._script], start_new_session=True, stdout=subprocess.PIPE)
        self.processes.append(process)
        self.has_started.release()
        return process

    def close(self) -> None:
        """After the end of all processes."""
        for process in self.processes:
            process.communicate(timeout=60)


@contextmanager
def running(starter: Starter, said: list[str]) -> Iterator[Upkeep]:
    """An upkeep of two workers that are there; ends when it has been stopped."""
    found = Upkeep({"a": starter, "b": starter}, said.append)
    thread = threading.Thread(target=found.run)
    thread.start()
    for _ in range(2):
        assert starter.has_started.acquire(timeout=60)
    yield found
    thread.join(timeout=60)
    assert not thread.is_alive()
    starter.close()


@pytest.mark.parametrize(("n_failures", "seconds"), [(0, 1), (1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (5000, 30)])
def test_pauses_grow_up_to_half_a_minute(n_failures: int, seconds: float) -> None:
    assert pause_seconds(n_failures) == seconds


def test_a_worker_that_ended_is_started_again_after_its_pause() -> None:
    said: list[str] = []
    starter = Starter("exit 0")
    worker = KeptUp("n1-0", starter, said.append)
    # When it is looked at, and how many have been started by then: short lives wait longer and longer.
    for now, n_started in [(0, 1), (5, 1), (5.9, 1), (6, 2), (7, 2), (8.9, 2), (9, 3), (99, 3), (99.9, 3), (100, 4)]:
        worker.look(now)
        assert len(starter.processes) == n_started, now
        starter.processes[-1].wait(timeout=60)
    starter.close()
    pids = [process.pid for process in starter.processes]
    assert said == [
        f"n1-0: started, process {pids[0]}",
        "n1-0: ended with code 0; starting again in 1 s",
        f"n1-0: started, process {pids[1]}",
        "n1-0: ended with code 0; starting again in 2 s",
        f"n1-0: started, process {pids[2]}",
        # This one lived for 90 seconds.
        "n1-0: ended with code 0; starting again in 1 s",
        f"n1-0: started, process {pids[3]}",
    ]


def test_a_worker_that_cannot_be_started_is_tried_again() -> None:
    said: list[str] = []
    starter = Starter("exit 0", (OSError("no memory"), InputError("tls: gone")))
    worker = KeptUp("n1-0", starter, said.append)
    for now in (0, 1, 3):
        worker.look(now)
    starter.close()
    assert said == [
        "n1-0: cannot be started: no memory; starting again in 1 s",
        "n1-0: cannot be started: tls: gone; starting again in 2 s",
        f"n1-0: started, process {starter.processes[0].pid}",
    ]


def test_workers_are_told_to_end_and_may_take_their_time(tmp_path: Path) -> None:
    said: list[str] = []
    script = f"trap 'sleep 0.2; echo > {tmp_path}/$$; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
    starter = Starter(script)
    with running(starter, said) as found:
        for process in starter.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        found.stop()
    assert {path.name for path in tmp_path.iterdir()} == {str(process.pid) for process in starter.processes}
    assert [process.returncode for process in starter.processes] == [0, 0]
    assert said[-1] == "telling 2 workers to end; a second signal kills them"


@pytest.mark.parametrize("is_asked_twice", [True, False])
def test_workers_that_do_not_end_are_killed_with_their_children(
    monkeypatch: pytest.MonkeyPatch, is_asked_twice: bool
) -> None:
    if not is_asked_twice:
        monkeypatch.setattr(upkeep, "_GRACE_SECONDS", 0.1)
    starter = Starter("trap '' TERM; sleep 1000 & echo $!; wait")
    with running(starter, []) as found:
        pids = [int(process.stdout.readline()) for process in starter.processes if process.stdout]
        found.stop()
        if is_asked_twice:
            found.stop()
    assert [process.returncode for process in starter.processes] == [-9, -9]
    assert have_ended(pids)


def test_no_worker_outlives_an_upkeep_that_fails() -> None:
    starter = Starter("sleep 1000")

    def fail(line: str) -> None:
        raise BrokenPipeError(line)

    with pytest.raises(BrokenPipeError, match="started"):
        Upkeep({"a": starter}, fail).run()
    (process,) = starter.processes
    assert process.returncode == -9
    starter.close()
