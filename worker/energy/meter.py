"""A window of work with its energy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.energy.carbon import CarbonModel
from worker.energy.sources import Source
from worker.schema import EnergyReport

SHORT_WINDOW_SECONDS = 1.0


@dataclass
class EnergyMeter:
    """Measures one window: `with meter: ...`, then `meter.report()`.

    Args:
        source: where the joules are read.
        device: its name, for people.
        synchronize: waits for the device; called at both edges, so that the window holds all of its work.
        carbon: intensity and PUE.
        clock: seconds that never go backwards.
    """

    source: Source
    device: str
    synchronize: Callable[[], None]
    carbon: CarbonModel = field(default_factory=CarbonModel)
    clock: Callable[[], float] = time.monotonic
    _started: float = 0.0
    _report: EnergyReport | None = None

    def __enter__(self) -> EnergyMeter:
        self.synchronize()
        self.source.begin()
        self._started = self.clock()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.synchronize()
        reading = self.source.end()
        seconds = self.clock() - self._started
        flags = reading.flags
        if seconds < SHORT_WINDOW_SECONDS and "short_window" not in flags:
            flags = (*flags, "short_window")
        self._report = EnergyReport(
            joules=reading.joules,
            method=self.source.method if reading.joules is not None else "none",
            quality=self.source.quality if reading.joules is not None else "none",
            device=self.device,
            duration_seconds=seconds,
            pue=self.carbon.pue,
            carbon_grams_per_kwh=self.carbon.grams_per_kwh,
            carbon_source=self.carbon.source,
            emissions_grams=self.carbon.grams(reading.joules),
            flags=flags,
        )

    def report(self) -> EnergyReport:
        """The energy of the window that was closed last.

        Raises:
            RuntimeError: no window has been closed yet.
        """
        if self._report is None:
            raise RuntimeError("no window has been measured yet")
        return self._report
