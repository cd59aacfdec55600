"""What is done to a process that does not end when it is told to, on a clock that only its silence moves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker import supervision
from worker.messages import Message, Stop
from worker.schema import FailureKind, Recipe, TrialSpec
from worker.supervision import INTERRUPT_SECONDS, KILL_SECONDS, TICK_SECONDS, Supervision

SPEC = TrialSpec(
    study_id="s",
    trial_id="t",
    dataset="digits",
    network="resnet8",
    recipe=Recipe(),
    shift_depth=0,
    epochs=1,
    time_limit_seconds=10,
)


class Deaf:
    """A process that never says anything; each silence takes as long as somebody is ready to wait."""

    last_words = "where it was"

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[tuple[str, float]] = []
        self._is_alive = True

    def is_alive(self) -> bool:
        return self._is_alive

    def receive(self, seconds: float) -> list[Message]:
        self.now += seconds
        return []

    def send(self, message: Message) -> None:
        if isinstance(message, Stop):
            self._do("stop")

    def interrupt(self) -> None:
        self._do("interrupt")

    def dump(self, seconds: float) -> None:
        self._do("dump")
        self.dump_seconds = seconds

    def kill(self) -> None:
        self._do("kill")
        self._is_alive = False

    def resident_bytes(self) -> int:
        return 0

    def _do(self, what: str) -> None:
        self.done.append((what, self.now))


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Deaf:
    process = Deaf()
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: process.now))
    return process


def run(process: Deaf, stop_at: float) -> FailureKind | None:
    failure = Supervision(process, SPEC, lambda _: None, lambda: process.now >= stop_at).run().failure
    assert failure is not None and failure.traceback == "where it was"
    return failure.kind


@pytest.mark.parametrize(
    ("stop_at", "told_at", "kind"), [(1e9, 10.0, FailureKind.TIME_LIMIT), (3.0, 3.0, FailureKind.CANCELLED)]
)
def test_it_is_told_interrupted_and_killed_in_time(
    deaf: Deaf, stop_at: float, told_at: float, kind: FailureKind
) -> None:
    assert run(deaf, stop_at) is kind

    expected = {
        "stop": told_at,
        "interrupt": told_at + INTERRUPT_SECONDS,
        "dump": told_at + KILL_SECONDS,
        "kill": told_at + KILL_SECONDS,
    }
    assert [what for what, _ in deaf.done] == list(expected)
    for what, at in deaf.done:
        # Each step waits for two more silences at most.
        assert 0 <= at - expected[what] <= 2 * TICK_SECONDS + 1e-9
    assert expected["interrupt"] - told_at + 2 * TICK_SECONDS < 1
    if kind is FailureKind.CANCELLED:
        # A worker that leaves waits three and a half seconds.
        assert KILL_SECONDS + deaf.dump_seconds + 2 * TICK_SECONDS < 3.5
