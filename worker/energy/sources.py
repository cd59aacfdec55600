"""Where the joules of a trial are read: a GPU by NVML, processor and memory by RAPL or else by CodeCarbon's model."""

from __future__ import annotations

import logging
from dataclasses import replace

from worker.energy.cpu_model import CODECARBON_TROUBLE, CodeCarbonModel
from worker.energy.gpu import GpuSource, open_gpu_source
from worker.energy.rapl import RaplSource
from worker.energy.reading import NoSource, Reading, Source
from worker.errors import UnreadableError
from worker.schema import GpuEnergy, Method, Quality

logger = logging.getLogger(__name__)


class GpuAndHost:
    """The joules of a GPU, with what its host spent on the same window beside them.

    Args:
        uuid: of the GPU.
        gpu: whose joules count; where they are unknown, also where it is None, no other stands in for them.
        host: of processor and memory.
    """

    def __init__(self, uuid: str, gpu: GpuSource | None, host: Source) -> None:
        self._uuid, self._gpu, self._host = uuid, gpu, host

    @property
    def method(self) -> Method:
        """That of the GPU."""
        return self._gpu.method if self._gpu else "none"

    @property
    def quality(self) -> Quality:
        """That of the GPU."""
        return self._gpu.quality if self._gpu else "none"

    def begin(self) -> None:
        # What takes time comes before both windows, and the GPU's edges lie inside those of its host.
        if self._gpu is not None:
            self._gpu.prepare()
        self._host.begin()
        if self._gpu is not None:
            self._gpu.begin()

    def end(self) -> Reading:
        if self._gpu is not None:
            self._gpu.stop()
        host = self._host.end()
        unknown = Reading(None, ("no_counter",), gpu=GpuEnergy(uuid=self._uuid))
        reading = self._gpu.end() if self._gpu is not None else unknown
        failed = tuple(flag for flag in host.flags if flag == "codecarbon_failed")
        return replace(reading, cpu=host.cpu, ram=host.ram, flags=(*reading.flags, *failed))


def open_source(uuid: str | None) -> Source:
    """The best source there is for the GPU `uuid`, or for processor and memory where `uuid` is None; never raises.

    A GPU that cannot be read has unknown energy, and no model stands in for it.
    """
    host = open_host_source()
    if uuid is None:
        return host
    try:
        return GpuAndHost(uuid, open_gpu_source(uuid), host)
    except UnreadableError as error:
        logger.warning("no energy source for %s: %s", uuid, error)
        return GpuAndHost(uuid, None, host)


def open_host_source() -> Source:
    """Processor and memory: their counters where they may be read, else the model, else nothing; never raises."""
    try:
        return RaplSource()
    except (OSError, ValueError) as error:
        logger.info("no RAPL: %s", error)
    try:
        return CodeCarbonModel()
    except CODECARBON_TROUBLE as error:
        logger.warning("no energy source for processor and memory: %r", error)
        return NoSource()
