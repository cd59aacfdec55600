"""A window of work with its energy, and passes repeated until their window is long enough to be trusted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from worker.energy.carbon import CarbonModel
from worker.energy.processes import CpuSeconds, cpu_seconds
from worker.energy.reading import Source
from worker.energy.report import Measured, build_report
from worker.schema import EnergyReport, InferenceEnergy, SiteSpec

# Below it neither sensor nor counter of a GPU is to be trusted.
INFERENCE_SECONDS = 5.0


@dataclass
class EnergyMeter:
    """Measures one window: `with meter: ...`, then `meter.report()`.

    Only what is between the edges counts: the device is waited for at both, and whatever a source needs to get ready
    or to find its figure happens outside of them.

    Args:
        source: where the joules are read.
        device: its name, for people.
        synchronize: waits for the device; called at both edges, so that the window holds all of its work.
        carbon: intensity and PUE.
        clock: seconds that never go backwards.
        site: factors of water and of the device's making.
        cpu: processor seconds until now.
    """

    source: Source
    device: str
    synchronize: Callable[[], None]
    carbon: CarbonModel = field(default_factory=CarbonModel)
    clock: Callable[[], float] = time.monotonic
    site: SiteSpec = field(default_factory=SiteSpec)
    cpu: Callable[[], CpuSeconds] = cpu_seconds
    _started: float = 0.0
    _started_at: datetime | None = None
    _cpu_before: CpuSeconds | None = None
    _report: EnergyReport | None = None

    def __enter__(self) -> EnergyMeter:
        self._cpu_before = self.cpu()
        self.synchronize()
        self.source.begin()
        self._started_at = datetime.now(UTC)
        self._started = self.clock()
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            # A device that is broken by what ran on it raises here; what was spent until then still counts.
            self.synchronize()
        finally:
            seconds = self.clock() - self._started
            reading = self.source.end()
            measured = Measured(
                reading=reading,
                method=self.source.method,
                quality=self.source.quality,
                device=self.device,
                started_at=self._started_at or datetime.now(UTC),
                seconds=seconds,
                device_seconds=seconds if reading.gpu is not None else self._cores_seconds(),
            )
            self._report = build_report(measured, self.carbon, self.site)

    def report(self) -> EnergyReport:
        """The energy of the window that was closed last.

        Raises:
            RuntimeError: no window has been closed yet.
        """
        if self._report is None:
            raise RuntimeError("no window has been measured yet")
        return self._report

    def _cores_seconds(self) -> float | None:
        """Seconds for which our work would have taken all cores of the machine."""
        if self._cpu_before is None:
            return None
        return self.cpu().since(self._cpu_before).own / (os.cpu_count() or 1)


def measure_inference(
    meter: EnergyMeter,
    one_pass: Callable[[], object],
    n_images: int,
    at_least_seconds: float = INFERENCE_SECONDS,
) -> InferenceEnergy:
    """Energy per image of a pass, repeated in one window of at least `at_least_seconds`.

    Args:
        meter: of the device; its last report is replaced by that of this window.
        one_pass: the work for `n_images` images; run it once before, so that nothing is still to be compiled.
        n_images: 1 or more.
        at_least_seconds: that the window takes; passes are whole, so it may take longer.

    Raises:
        ValueError: no images.
    """
    if n_images < 1:
        raise ValueError(f"n_images must be 1 or more, got {n_images}")
    n_passes = 0
    with meter:
        started = meter.clock()
        while n_passes == 0 or meter.clock() - started < at_least_seconds:
            one_pass()
            # Else passes would pile up on a GPU, and the window would end long after it should.
            meter.synchronize()
            n_passes += 1
    report = meter.report().model_copy(update={"repeats": n_passes})
    uncertainty = report.gpu.uncertainty_joules if report.gpu is not None else None
    n = n_passes * n_images
    return InferenceEnergy(
        joules_per_image=None if report.joules is None else report.joules / n,
        uncertainty_joules_per_image=None if uncertainty is None else uncertainty / n,
        n_images=n_images,
        n_passes=n_passes,
        report=report,
    )
