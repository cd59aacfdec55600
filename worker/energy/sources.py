"""Where joules are read from: the GPU's own counter, or CodeCarbon's model of CPU and memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import pynvml
from codecarbon import OfflineEmissionsTracker

from worker.schema import Method, Quality

logger = logging.getLogger(__name__)
JOULES_PER_KWH = 3.6e6
JOULES_PER_MILLIJOULE = 1e-3
# CodeCarbon reads files of the kernel and tables of its own; this is what doing so can raise.
CODECARBON_TROUBLE = (OSError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Reading:
    """Joules of one window, or None with the reason among the flags."""

    joules: float | None
    flags: tuple[str, ...] = ()


class Source(Protocol):
    """One way to read energy; `begin` and `end` enclose one window at a time."""

    method: Method
    quality: Quality

    def begin(self) -> None:
        """Starts a window; never raises."""

    def end(self) -> Reading:
        """Ends the window; trouble becomes a flag and None, never an exception."""


class NvmlCounter:
    """The GPU's total energy counter, read before and after.

    The counter steps about every 100 ms, so windows below one second are poor.

    Args:
        uuid: of the GPU, as NVML spells it.

    Raises:
        pynvml.NVMLError: no NVML library, no such GPU, or a GPU without a counter (before Volta).
    """

    method: Method = "nvml_energy_delta"
    quality: Quality = "measured"

    def __init__(self, uuid: str) -> None:
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        self._begin: float | None = self._read()

    def begin(self) -> None:
        try:
            self._begin = self._read()
        except pynvml.NVMLError as error:
            logger.warning("the energy counter cannot be read: %s", error)
            self._begin = None

    def end(self) -> Reading:
        if self._begin is None:
            return Reading(None, ("counter_unreadable",))
        try:
            joules = self._read() - self._begin
        except pynvml.NVMLError as error:
            logger.warning("the energy counter cannot be read: %s", error)
            lost = isinstance(error, pynvml.NVMLError_GpuIsLost)
            return Reading(None, ("gpu_lost" if lost else "counter_unreadable",))
        return Reading(joules) if joules >= 0 else Reading(None, ("counter_reset",))

    def _read(self) -> float:
        millijoules: int = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        return millijoules * JOULES_PER_MILLIJOULE


class CodeCarbonModel:
    """CodeCarbon's estimate of this process's share of CPU and memory power, without network or files.

    Raises:
        Exception: one of `CODECARBON_TROUBLE`, where CodeCarbon cannot start.
    """

    method: Method = "codecarbon"
    quality: Quality = "estimated"

    def __init__(self) -> None:
        self._tracker = _shared_tracker()
        self._is_running = False

    def begin(self) -> None:
        try:
            self._tracker.start_task()
            self._is_running = True
        except CODECARBON_TROUBLE as error:
            logger.warning("CodeCarbon cannot start a window: %r", error)
            self._is_running = False

    def end(self) -> Reading:
        try:
            data = self._tracker.stop_task() if self._is_running else None
        except CODECARBON_TROUBLE as error:
            logger.warning("CodeCarbon cannot end a window: %r", error)
            data = None
        if data is None:
            return Reading(None, ("codecarbon_failed",))
        joules = (data.cpu_energy + data.ram_energy) * JOULES_PER_KWH
        # CodeCarbon reports zero for windows shorter than its first sample: unknown, not nothing.
        return Reading(joules) if joules > 0 else Reading(None, ("short_window",))


class NoSource:
    """Nothing to read: every window is unknown."""

    method: Method = "none"
    quality: Quality = "none"

    def begin(self) -> None:
        pass

    def end(self) -> Reading:
        return Reading(None, ("no_counter",))


def open_source(uuid: str | None) -> Source:
    """The best source there is for the GPU `uuid`, or for the CPU where `uuid` is None; never raises.

    A GPU without a readable counter gives `NoSource`: its energy is unknown, and no model stands in for it.
    """
    try:
        return CodeCarbonModel() if uuid is None else NvmlCounter(uuid)
    except (pynvml.NVMLError, *CODECARBON_TROUBLE) as error:
        logger.warning("no energy source for %s: %r", uuid or "the CPU", error)
        return NoSource()


@lru_cache(maxsize=1)
def _shared_tracker() -> Any:
    """One tracker a process, warmed: its first task takes seconds and would end up in the first trial's energy.

    Every option is given, so that no configuration file or variable of the host has a say. Only CPU and memory
    energy are used; carbon is computed by us, so the country is of no consequence.
    """
    # Its log_level option comes too late for what the constructor logs.
    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA",
        tracking_mode="process",
        measure_power_secs=1,
        output_methods=[],
        allow_multiple_runs=True,
        pue=1.0,
        log_level="error",
    )
    tracker.start_task()
    tracker.stop_task()
    return tracker
