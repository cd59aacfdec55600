"""One window of a GPU's work while it is open: what the sampler has seen of it, and what that comes to."""

from __future__ import annotations

from dataclasses import dataclass

from worker.energy.timeline import Timeline
from worker.schema import Flag, Method

# A difference that stays zero for so long is no counter.
FROZEN_SECONDS = 1.0
# Sampled power is a figure of at most this interval.
MAX_POWER_GAP_SECONDS = 0.3


@dataclass(frozen=True)
class WindowReading:
    """Joules of one closed window; None with the reason among the flags.

    Attributes:
        tick_seconds: between changes of the counter, or between samples of power.
        power_integral_joules: of the same window, whatever the method.
    """

    joules: float | None
    method: Method
    seconds: float
    tick_seconds: float | None = None
    n_ticks: int | None = None
    max_gap_seconds: float = 0.0
    power_integral_joules: float | None = None
    flags: tuple[Flag, ...] = ()


@dataclass
class PowerIntegral:
    """Power over time by the trapezoidal rule."""

    joules: float = 0.0
    n_samples: int = 0
    is_broken: bool = False
    max_gap_seconds: float = 0.0
    _last: tuple[float, float] | None = None

    def add(self, seconds: float, watts: float | None) -> None:
        """Takes the next sample; one that could not be read breaks the integral."""
        if watts is None:
            self.is_broken = True
            return
        if self._last is not None:
            gap = seconds - self._last[0]
            self.joules += gap * (watts + self._last[1]) / 2
            self.max_gap_seconds = max(self.max_gap_seconds, gap)
        self._last = (seconds, watts)
        self.n_samples += 1

    def total(self) -> float | None:
        """Joules, where at least both edges were sampled."""
        return self.joules if self.n_samples > 1 and not self.is_broken else None


class Window:
    """What the sampler sees between two edges.

    Args:
        started: when it began, in seconds.
        timeline: of the GPU's counter.
        counter: what the counter read at the beginning; None without one.
    """

    def __init__(self, started: float, timeline: Timeline, counter: float | None) -> None:
        self.started = started
        self.ended: float | None = None
        self.power = PowerIntegral()
        self.void: Flag | None = None
        self._timeline, self._first = timeline, counter
        self._last: float | None = None
        self._n_changes, self._n_resets = timeline.n_changes, timeline.n_resets
        self._seen_at = started
        self._max_gap = 0.0
        self._start_joules: float | None = None
        self._n_ticks = 0

    def see(self, seconds: float) -> None:
        """The counter was looked at."""
        if self.ended is None:
            self._max_gap = max(self._max_gap, seconds - self._seen_at)
            self._seen_at = seconds
        if self._start_joules is None:
            self._start_joules = self._timeline.at(self.started)

    def sample(self, seconds: float, watts: float | None) -> None:
        """The power was read."""
        if self.ended is None:
            self.power.add(seconds, watts)

    def stop(self, seconds: float, counter: float | None, watts: float | None) -> None:
        """The work has ended; the counter's next change, which tells how much it was, is still to come."""
        self.see(seconds)
        self.sample(seconds, watts)
        self.ended, self._last = seconds, counter
        self._n_ticks = self._timeline.n_changes - self._n_changes

    def close(self, *, use_counter: bool) -> WindowReading:
        """What the window comes to.

        Args:
            use_counter: it is the one to believe; else the integral of the power.
        """
        if self._start_joules is None:
            self._start_joules = self._timeline.at(self.started)
        if self.void is None and self._timeline.n_resets > self._n_resets:
            self.void = "counter_reset"
        if self.void is not None:
            return self._reading(None, "none", self.void)
        return self._by_counter() if use_counter else self._by_power()

    def _by_counter(self) -> WindowReading:
        tick, seconds = self._timeline.tick_seconds(), self._seconds()
        end_joules = self._timeline.at(self.started + seconds)
        if tick is not None and seconds < tick:
            return self._reading(None, "none", "short_window")
        if tick is not None and self._start_joules is not None and end_joules is not None:
            degraded: tuple[Flag, ...] = ("degraded",) if self._max_gap > 3 * tick else ()
            return self._reading(end_joules - self._start_joules, "nvml_energy_timeline", *degraded)
        if self._first is None or self._last is None:
            return self._reading(None, "none", "no_counter")
        if self._last <= self._first:
            return self._reading(None, "none", "short_window" if seconds < FROZEN_SECONDS else "no_counter")
        degraded = ("degraded",) if tick is not None else ()
        return self._reading(self._last - self._first, "nvml_energy_delta", *degraded)

    def _by_power(self) -> WindowReading:
        joules = self.power.total()
        if joules is None:
            return self._reading(None, "none", "no_counter")
        degraded: tuple[Flag, ...] = ("degraded",) if self.power.max_gap_seconds > MAX_POWER_GAP_SECONDS else ()
        return self._reading(joules, "nvml_power_integral", *degraded)

    def _reading(self, joules: float | None, method: Method, *flags: Flag) -> WindowReading:
        is_power, seconds = method == "nvml_power_integral", self._seconds()
        return WindowReading(
            joules=joules,
            method=method,
            seconds=seconds,
            tick_seconds=seconds / max(1, self.power.n_samples - 1) if is_power else self._timeline.tick_seconds(),
            n_ticks=None if is_power else self._n_ticks,
            max_gap_seconds=self.power.max_gap_seconds if is_power else self._max_gap,
            power_integral_joules=self.power.total(),
            flags=flags,
        )

    def _seconds(self) -> float:
        return 0.0 if self.ended is None else self.ended - self.started
