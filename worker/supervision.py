"""One trial in a process of its own, watched from outside: its messages passed on, its limits and stops kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from worker.memory import n_memory_kills
from worker.messages import Begun, Done, Epoch, Message, Run, SoFar, Stop
from worker.process import ChildProcess
from worker.schema import (
    AnyTrialSpec,
    EnergyReport,
    EpochMetrics,
    Failure,
    FailureKind,
    Interim,
    TrialResult,
    TrialSpec,
)

# How often limits and stops are looked at.
TICK_SECONDS = 0.05
# A trial that was told to end and does not see it is interrupted, then killed.
INTERRUPT_SECONDS = 0.5
# One that leaves its training for the next attempt does so after its batch, for which it has longer.
RESCUE_SECONDS = 2.0
KILL_SECONDS = 3.0
# For the stack of a trial that is killed; less where its worker may be leaving, and must still say what was spent.
_LAST_WORDS_SECONDS, _SHORT_SECONDS = 3.0, 0.3
_MIB = 2**20


def messages(process: ChildProcess) -> Iterator[Message | None]:
    """What the process says until it is dead, and None whenever it has said nothing for a tick."""
    while True:
        was_alive = process.is_alive()
        found = process.receive(TICK_SECONDS)
        yield from found
        if not found and not was_alive:
            return
        yield None


class Supervision:
    """Runs one trial in a process that is ready.

    Args:
        process: given no other trial before `run` returns.
        spec: with its limits of time and memory.
        on_epoch: is given the metrics of each epoch.
        should_stop: is asked all the time.

    Attributes:
        was_disturbed: the process was interrupted or is dead.
    """

    def __init__(
        self,
        process: ChildProcess,
        spec: AnyTrialSpec,
        on_epoch: Callable[[EpochMetrics], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._process, self._spec = process, spec
        self._on_epoch, self._should_stop = on_epoch, should_stop
        self._unmeasured: EnergyReport | None = None
        self._so_far = Interim.at_first(spec)
        self._n_memory_kills = n_memory_kills()
        self._started = time.monotonic()
        self._ending: Failure | None = None
        self._ending_since = 0.0
        self._patience = INTERRUPT_SECONDS if spec.rescue_to is None else RESCUE_SECONDS
        self.was_disturbed = self._is_killed = False

    def run(self) -> TrialResult:
        """Returns what came of the trial, whichever way it ended."""
        self._process.send(Run(spec=self._spec))
        for message in messages(self._process):
            if isinstance(message, Done):
                return self._judge(message.result)
            if isinstance(message, Epoch):
                self._on_epoch(message.metrics)
            elif isinstance(message, SoFar):
                self._so_far = message.interim
            elif isinstance(message, Begun):
                self._unmeasured = message.unmeasured
            elif self._ending is None:
                self._watch()
            else:
                self._press()
            if self._is_killed:
                break
        return self._died()

    def _watch(self) -> None:
        """Looks whether the trial must end."""
        limit = self._spec.time_limit_seconds
        seconds = self._so_far.seconds_before + time.monotonic() - self._started
        allowed, resident = self._spec.memory_limit_bytes, self._process.resident_bytes()
        if allowed is not None and resident > allowed:
            said = f"{resident / _MIB:.0f} MiB were resident, over the limit of {allowed / _MIB:.0f} MiB"
            self._end(FailureKind.MEMORY_LIMIT, said)
            self._kill()
        elif limit is not None and seconds > limit:
            self._end(FailureKind.TIME_LIMIT, f"the trial ran longer than its limit of {limit:g} s")
        elif self._should_stop():
            self._end(FailureKind.CANCELLED, "the trial was asked to stop")

    def _end(self, kind: FailureKind, message: str) -> None:
        self._ending = Failure(kind=kind, message=message)
        self._ending_since = time.monotonic()
        self._process.send(Stop())

    def _press(self) -> None:
        """Takes the next step against a trial that does not end."""
        seconds = time.monotonic() - self._ending_since
        if seconds > KILL_SECONDS:
            is_asked = self._ending is not None and self._ending.kind is FailureKind.CANCELLED
            self._process.dump(_SHORT_SECONDS if is_asked else _LAST_WORDS_SECONDS)
            self._kill()
        elif seconds > self._patience and not self.was_disturbed:
            self.was_disturbed = True
            self._process.interrupt()

    def _kill(self) -> None:
        self.was_disturbed = self._is_killed = True
        self._process.kill()
        for message in self._process.receive(0):
            if isinstance(message, SoFar):
                self._so_far = message.interim

    def _judge(self, result: TrialResult) -> TrialResult:
        """The result that the process gave, with the reason why it was told to end, if that is why it failed."""
        if self._ending is None or result.failure is None:
            return result
        if self.was_disturbed:
            return result.model_copy(update={"failure": self._because(self._ending, result.failure.traceback)})
        if result.failure.kind is FailureKind.CANCELLED:
            # It ended when it was told to: where it was then is of no interest.
            return result.model_copy(update={"failure": self._ending})
        return result

    def _died(self) -> TrialResult:
        """What is known of a trial whose process is dead."""
        self.was_disturbed = True
        traceback = self._process.last_words
        if self._ending is not None:
            failure = self._because(self._ending, traceback)
        elif self._process.was_killed() and _increased(self._n_memory_kills, n_memory_kills()):
            said = "the kernel killed the process of the trial because memory ran out"
            failure = Failure(kind=FailureKind.OUT_OF_MEMORY, message=said, traceback=traceback)
        else:
            failure = Failure(kind=FailureKind.CRASHED, message=self._process.how_it_died(), traceback=traceback)
        energy = self._so_far.energy or self._lost_energy()
        n_seeds = self._spec.n_seeds if isinstance(self._spec, TrialSpec) else 1
        if energy is not None and energy.repeats < n_seeds:
            # That of the seed that was being trained died with the process.
            energy = energy.model_copy(update={"flags": tuple(dict.fromkeys((*energy.flags, "process_died")))})
        return failed(self._spec, failure, self._so_far.model_copy(update={"energy": energy}))

    def _lost_energy(self) -> EnergyReport | None:
        """The report of a window that died with its process: what it spent is unknown, and said to be."""
        if self._unmeasured is None:
            return None
        return self._unmeasured.model_copy(
            update={
                "duration_seconds": time.monotonic() - self._started,
                "device_seconds": None,
                "embodied_grams": None,
                "flags": ("process_died", *(flag for flag in self._unmeasured.flags if flag == "ci_fallback")),
            }
        )

    @staticmethod
    def _because(ending: Failure, traceback: str) -> Failure:
        return ending.model_copy(update={"traceback": traceback})


def failed(spec: AnyTrialSpec, failure: Failure, so_far: Interim | None = None) -> TrialResult:
    """The result of a trial that failed, with what was known of it."""
    names = {"study_id": spec.study_id, "trial_id": spec.trial_id, "attempt": spec.attempt}
    return TrialResult(**names, **dict(so_far or Interim.at_first(spec)), failure=failure)


def _increased(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and after > before
