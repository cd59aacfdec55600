"""The energy of a GPU as a source: the monitor's windows with idle power, uncertainty and state at both ends."""

from __future__ import annotations

import os
from functools import lru_cache

from worker.energy.idle import IdleBaseline, IdleKeeper
from worker.energy.monitor import GpuMonitor
from worker.energy.nvml import GpuState, open_gpu
from worker.energy.processes import is_exclusive
from worker.energy.reading import Reading
from worker.energy.uncertainty import gross_uncertainty, net_uncertainty
from worker.energy.window import Window, WindowReading
from worker.schema import Flag, GpuEnergy, Method, Quality

# Below it the sensor, more than the counter's tick, decides (Yang, Adamek and Armour, arXiv 2312.02741).
SHORT_WINDOW_SECONDS = 5.0
# Counter and integrated power of a window at least so long must agree within a tenth.
CHECKED_SECONDS, DISAGREEMENT = 1.0, 0.1
_QUALITY: dict[Method, Quality] = {
    "nvml_energy_timeline": "measured",
    "nvml_energy_delta": "measured",
    "nvml_power_integral": "integrated",
}


class GpuSource:
    """Reads one window at a time; several sources may share a monitor.

    The counter is that of the whole GPU: a MIG slice, or a GPU that others use too, has no figure of its own.

    Args:
        monitor: of the GPU.
        idle: its idle power; None never measures it.
    """

    def __init__(self, monitor: GpuMonitor, idle: IdleKeeper | None = None) -> None:
        self._monitor, self._idle = monitor, idle
        self._window: Window | None = None
        self._before: GpuState | None = None
        self._baseline: IdleBaseline | None = None
        self._idle_age: float | None = None
        self._is_stale = False

    @property
    def method(self) -> Method:
        """How the GPU is usually read."""
        if self._monitor.sensor.is_mig or not self._monitor.is_readable:
            return "none"
        return "nvml_energy_timeline" if self._monitor.has_counter else "nvml_power_integral"

    @property
    def quality(self) -> Quality:
        """How well that is."""
        return _QUALITY.get(self.method, "none")

    def prepare(self) -> None:
        """All that a window needs and that takes time: idle power, and the counter's tick."""
        self._before = self._monitor.sensor.state()
        if self._idle is not None and not self._monitor.sensor.is_mig:
            self._baseline = self._idle.refresh(is_exclusive=is_exclusive(self._before.pids) is not False)
            self._is_stale = self._idle.is_stale()
        self._monitor.prepare()

    def begin(self) -> None:
        if self._before is None:
            self.prepare()
        self._window = self._monitor.open_window()
        if self._baseline is not None:
            self._idle_age = self._window.started - self._baseline.measured_at

    def stop(self) -> None:
        """Ends the window at once; `end` then gives what it came to."""
        if self._window is not None:
            self._monitor.end_window(self._window)

    def end(self) -> Reading:
        if self._window is None or self._before is None:
            return Reading(None, ("no_counter",), "none", "none")
        window = self._monitor.close_window(self._window)
        before, after = self._before, self._monitor.sensor.state()
        self._window = self._before = None
        exclusive = _both(is_exclusive(before.pids), is_exclusive(after.pids))
        flags = self._flags(window, exclusive)
        is_void = self._monitor.sensor.is_mig or exclusive is False
        joules = None if is_void else window.joules
        method: Method = window.method if joules is not None else "none"
        quality = _QUALITY.get(method, "none")
        gpu = self._describe(window, joules, method, quality, before, after, exclusive)
        return Reading(joules, flags, method, quality, gpu=gpu)

    def _flags(self, window: WindowReading, exclusive: bool | None) -> tuple[Flag, ...]:
        flags = list(window.flags)
        if self._monitor.sensor.is_mig:
            flags.append("mig")
        if exclusive is False:
            flags.append("shared_gpu")
        if window.seconds < SHORT_WINDOW_SECONDS:
            flags.append("short_window")
        if self._is_stale and window.joules is not None:
            flags.append("stale_idle")
        if _disagree(window):
            flags.append("source_disagreement")
        return tuple(dict.fromkeys(flags))

    def _describe(
        self,
        window: WindowReading,
        joules: float | None,
        method: Method,
        quality: Quality,
        before: GpuState,
        after: GpuState,
        exclusive: bool | None,
    ) -> GpuEnergy:
        sensor, idle = self._monitor.sensor, self._baseline
        gross = net = net_uncertainty_joules = None
        if joules is not None:
            gross = gross_uncertainty(method, joules, window.seconds, window.tick_seconds)
            if idle is not None:
                net = joules - idle.watts * window.seconds
                net_uncertainty_joules = net_uncertainty(gross, idle.sd_watts, window.seconds)
        return GpuEnergy(
            uuid=sensor.uuid,
            name=sensor.name,
            # Grace Hopper's counter covers the processor and the memory beside the GPU.
            scope="module" if sensor.name is not None and "GH200" in sensor.name else "gpu",
            method=method,
            quality=quality,
            gross_joules=joules,
            uncertainty_joules=gross,
            net_joules=net,
            net_uncertainty_joules=net_uncertainty_joules,
            idle_watts=idle.watts if idle else None,
            idle_sd_watts=idle.sd_watts if idle else None,
            idle_age_seconds=self._idle_age,
            mean_watts=joules / window.seconds if joules is not None and window.seconds > 0 else None,
            tick_seconds=window.tick_seconds,
            n_ticks=window.n_ticks,
            sampler_max_gap_seconds=window.max_gap_seconds,
            power_integral_joules=window.power_integral_joules,
            exclusive=exclusive,
            mig=sensor.is_mig,
            power_limit_watts=after.power_limit_watts,
            temperature_celsius=(before.temperature_celsius, after.temperature_celsius),
            sm_megahertz=(before.sm_megahertz, after.sm_megahertz),
            driver=sensor.driver,
        )


def open_gpu_source(uuid: str) -> GpuSource:
    """The source of the GPU that `uuid` names; its monitor and idle power are shared within this process.

    Raises:
        UnreadableError: the GPU cannot be opened.
    """
    monitor, idle = _shared(uuid, os.getpid())
    return GpuSource(monitor, idle)


@lru_cache(maxsize=64)
def _shared(uuid: str, _pid: int) -> tuple[GpuMonitor, IdleKeeper]:
    """One thread a GPU and process: threads do not survive a fork, so the number of the process is part of the key."""
    monitor = GpuMonitor(lambda: open_gpu(uuid))
    return monitor, IdleKeeper(monitor)


def _disagree(window: WindowReading) -> bool:
    """Whether the counter and the sampled power tell two stories of a window long enough for both."""
    joules, other = window.joules, window.power_integral_joules
    if joules is None or other is None or window.seconds < CHECKED_SECONDS:
        return False
    return abs(other - joules) > DISAGREEMENT * max(joules, other)


def _both(first: bool | None, second: bool | None) -> bool | None:
    if first is False or second is False:
        return False
    return None if first is None or second is None else True
