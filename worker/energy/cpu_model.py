"""CodeCarbon's model of processor and memory, for machines whose counters cannot be read: always an estimate."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import Any

from codecarbon import OfflineEmissionsTracker

from worker.energy.reading import Reading
from worker.schema import HostEnergy, Method, Quality

logger = logging.getLogger(__name__)
JOULES_PER_KWH = 3.6e6
# CodeCarbon reads files of the kernel and tables of its own; this is what doing so can raise.
CODECARBON_TROUBLE = (OSError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class CodeCarbonModel:
    """CodeCarbon's estimate of this process's share of CPU and memory power, without network or files.

    Raises:
        Exception: one of `CODECARBON_TROUBLE`, where CodeCarbon cannot start.
    """

    method: Method = "codecarbon"
    quality: Quality = "estimated"

    def __init__(self) -> None:
        self._tracker = _shared_tracker(os.getpid())
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
        self._is_running = False
        if data is None:
            return Reading(None, ("codecarbon_failed",))
        cpu, ram = data.cpu_energy * JOULES_PER_KWH, data.ram_energy * JOULES_PER_KWH
        # CodeCarbon reports zero for windows shorter than its first sample: unknown, not nothing.
        if cpu + ram <= 0:
            return Reading(None, ("short_window",))
        return Reading(cpu + ram, cpu=_part(cpu), ram=_part(ram))


def _part(joules: float) -> HostEnergy:
    return HostEnergy(method="codecarbon", quality="estimated", share_joules=joules)


@lru_cache(maxsize=1)
def _shared_tracker(_pid: int) -> Any:
    """One tracker a process, warmed: its first task takes seconds and would end up in the first trial's energy.

    Every option is given, so that no configuration file or variable of the host has a say. Only CPU and memory
    energy are used; carbon is computed by us, so the country is of no consequence. GPUs are read by us.
    """
    # Its log_level option comes too late for what the constructor logs.
    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA",
        tracking_mode="process",
        measure_power_secs=1,
        output_methods=[],
        output_handlers=[],
        allow_multiple_runs=True,
        electricitymaps_api_token=None,
        force_carbon_intensity_g_co2e_kwh=475.0,
        force_cpu_power=None,
        force_ram_power=None,
        force_mode_cpu_load=False,
        rapl_include_dram=False,
        rapl_prefer_psys=False,
        gpu_ids=None,
        pue=1.0,
        wue=0.0,
        log_level="error",
    )
    tracker.start_task()
    tracker.stop_task()
    return tracker
