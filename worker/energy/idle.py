"""What a GPU draws while it does nothing for us: measured with a context, before the window, and again when stale."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.energy.monitor import GpuMonitor

IDLE_SECONDS = 5.0
N_PARTS = 5
STALE_SECONDS = 600.0


@dataclass(frozen=True)
class IdleBaseline:
    """Idle power and its deviation over equal parts of the measurement, in watts, at a time of the monotonic clock."""

    watts: float
    sd_watts: float
    measured_at: float


def measure_idle(
    monitor: GpuMonitor,
    seconds: float = IDLE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> IdleBaseline | None:
    """Idle power over about `seconds`; None where a part of it could not be read. No kernel of ours may run."""
    watts: list[float] = []
    for _ in range(N_PARTS):
        window = monitor.open_window()
        sleep(seconds / N_PARTS)
        reading = monitor.close_window(window)
        if reading.joules is None or reading.seconds <= 0:
            return None
        watts.append(reading.joules / reading.seconds)
    return IdleBaseline(statistics.fmean(watts), statistics.stdev(watts), clock())


class IdleKeeper:
    """Knows the idle power of one GPU, and measures it where that is missing or stale.

    Args:
        monitor: of the GPU.
        seconds: that a measurement takes; 0 never measures.
        clock: seconds that never go backwards.
        sleep: waits.
    """

    def __init__(
        self,
        monitor: GpuMonitor,
        seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._monitor, self._seconds, self._clock, self._sleep = monitor, seconds, clock, sleep
        self._baseline: IdleBaseline | None = None

    def refresh(self, *, is_exclusive: bool) -> IdleBaseline | None:
        """The baseline, measured anew if it is stale and the GPU is ours alone; costs nothing otherwise."""
        may_measure = self._seconds > 0 and is_exclusive and self._monitor.is_readable and not self._monitor.n_open
        if may_measure and self.is_stale():
            self._baseline = measure_idle(self._monitor, self._seconds, self._clock, self._sleep) or self._baseline
        return self._baseline

    def is_stale(self) -> bool:
        """Whether there is no baseline younger than ten minutes."""
        return self._baseline is None or self._clock() - self._baseline.measured_at > STALE_SECONDS
