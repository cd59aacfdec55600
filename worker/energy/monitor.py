"""One GPU watched by one thread: any number of windows may be open on it at once, also in several threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from worker.energy.nvml import GpuState
from worker.energy.poller import Poller
from worker.energy.timeline import Timeline
from worker.energy.window import Window, WindowReading
from worker.errors import UnreadableError

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.01
# Around the edges of a window, where the moment of a change decides, somebody looks more often.
EDGE_POLL_SECONDS = 0.001
# To check the counter with, power is read less often.
POWER_SECONDS = 0.05
PROBE_SECONDS = 1.0
# After the end of a window, the next change of the counter is waited for so many ticks.
TICKS_TO_WAIT = 3
LINGER_SECONDS = 30.0


class Sensor(Protocol):
    """What a GPU can tell; `worker.energy.nvml.Gpu` is one."""

    uuid: str
    is_mig: bool
    name: str | None
    driver: str | None

    def joules(self) -> float: ...

    def watts(self) -> float: ...

    def state(self) -> GpuState: ...


class Polling(Protocol):
    """What calls something again and again while somebody wants it; `worker.energy.poller.Poller` is one."""

    def hold(self) -> None: ...

    def release(self) -> None: ...


class GpuMonitor:
    """Watches a GPU while windows are open, and decides how it is read: the first step of the ladder that works.

    Counter through its timeline, its plain difference, integrated power, nothing. A failure voids the windows that
    are open; the next one tries again with the GPU opened anew.

    Args:
        open_sensor: opens the GPU.
        clock: seconds that never go backwards.
        sleep: waits.
        poller: makes the thread out of what it does, how often, and how long after the last window.
        linger_seconds: that time.

    Raises:
        UnreadableError: the GPU cannot be opened.
    """

    def __init__(
        self,
        open_sensor: Callable[[], Sensor],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        poller: Callable[[Callable[[], None], float, float], Polling] = Poller,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._open_sensor, self._clock, self._sleep = open_sensor, clock, sleep
        self.sensor = open_sensor()
        self._timeline = Timeline()
        self._windows: list[Window] = []
        self._power_at = 0.0
        self._is_frozen = False
        self._failed: UnreadableError | None = None
        self.has_counter = self.has_power = False
        self._lock = threading.RLock()
        self._poller = poller(self._poll, POLL_SECONDS, linger_seconds)
        self._probe()
        if self.is_readable:
            # The thread learns the tick while the trial is still being prepared.
            self._poller.hold()
            self._poller.release()

    @property
    def n_open(self) -> int:
        """Windows that are open now."""
        return len(self._windows)

    @property
    def is_readable(self) -> bool:
        """Whether there is anything to read."""
        return self.has_counter or self.has_power

    def prepare(self) -> None:
        """Opens the GPU anew if it failed, and waits for a change of its counter if there is one; never raises.

        A window that begins right after a change need not guess what the counter would have said.
        """
        if self._failed is not None:
            self._reopen()
        if self.has_counter:
            self._poller.hold()
            n_changes = self._timeline.n_changes
            self._watch(
                lambda: self._timeline.n_changes > n_changes and self._timeline.is_ready(self._clock()), PROBE_SECONDS
            )
            self._poller.release()

    def open_window(self) -> Window:
        """Begins a window; never raises."""
        self._poller.hold()
        if self._failed is not None or not self._timeline.is_ready(self._clock()):
            self.prepare()
        with self._lock:
            counter, watts = self._read_counter(), self._read_power()
            window = Window(self._clock(), self._timeline, counter)
            window.power.add(window.started, watts)
            if self._failed is not None:
                window.void = self._failed.flag
            self._windows.append(window)
        return window

    def end_window(self, window: Window) -> None:
        """Ends a window now; never raises."""
        with self._lock:
            counter, watts = self._read_counter(), self._read_power()
            window.stop(self._clock(), counter, watts)

    def close_window(self, window: Window) -> WindowReading:
        """What a window came to, once the counter has moved after its end; ends it now if it goes on; never raises."""
        if window.ended is None:
            self.end_window(window)
        tick, ended = self._timeline.tick_seconds(), window.ended
        if self.has_counter and tick is not None and window.void is None and ended is not None:
            self._watch(lambda: self._timeline.reaches(ended), TICKS_TO_WAIT * tick + 2 * POLL_SECONDS)
        self._poller.release()
        with self._lock:
            self._windows.remove(window)
            reading = window.close(use_counter=self.has_counter)
            # A counter that stands still is none: the next window takes the next step of the ladder.
            self._is_frozen |= "no_counter" in reading.flags and self.has_counter and self._failed is None
            self.has_counter &= not self._is_frozen
        return reading

    def _probe(self) -> None:
        """Finds out what can be read."""
        self._failed = None
        self.has_power = self.has_counter = False
        if self.sensor.is_mig:
            return
        self.has_power = self._can(self.sensor.watts)
        self.has_counter = not self._is_frozen and self._can(self.sensor.joules)

    def _can(self, read: Callable[[], float]) -> bool:
        """Whether that can be read: never on some GPUs, which is no failure, or not from a GPU that is lost."""
        try:
            read()
        except UnreadableError as error:
            logger.info("%s: %s", self.sensor.uuid, error)
            if error.flag == "gpu_lost":
                self._failed = error
            return False
        return True

    def _reopen(self) -> None:
        try:
            self.sensor = self._open_sensor()
        except UnreadableError as error:
            self._failed = error
            return
        with self._lock:
            self._timeline = Timeline()
            self._probe()

    def _poll(self) -> None:
        with self._lock:
            if self._failed is not None:
                return
            self._read_counter()
            now = self._clock()
            if self.has_power and (not self.has_counter or now - self._power_at >= POWER_SECONDS):
                self._power_at, watts = now, self._read_power()
                for window in self._windows:
                    window.sample(now, watts)
            for window in self._windows:
                window.see(now)

    def _read_counter(self) -> float | None:
        if not self.has_counter:
            return None
        try:
            joules = self.sensor.joules()
        except UnreadableError as error:
            self._fail(error)
            return None
        self._timeline.observe(self._clock(), joules)
        return joules

    def _read_power(self) -> float | None:
        if not self.has_power:
            return None
        try:
            return self.sensor.watts()
        except UnreadableError as error:
            if not self.has_counter:
                self._fail(error)
            return None

    def _fail(self, error: UnreadableError) -> None:
        logger.warning("the energy of %s cannot be read: %s", self.sensor.uuid, error)
        self._failed = error
        for window in self._windows:
            window.void = error.flag

    def _watch(self, is_done: Callable[[], bool], seconds: float) -> None:
        """Looks often until the counter has moved far enough, or it is clear that it does not."""
        until = self._clock() + seconds
        while self.has_counter and self._failed is None and not is_done() and self._clock() < until:
            self._sleep(EDGE_POLL_SECONDS)
            self._poll()
