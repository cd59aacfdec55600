"""What this machine can measure and how well: everything is read for one second, and nothing is left behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from worker.energy.carbon import carbon_model
from worker.energy.devices import describe, pick_device
from worker.energy.gpu import GpuSource
from worker.energy.monitor import GpuMonitor
from worker.energy.nvml import list_gpus, open_gpu
from worker.energy.reading import Reading
from worker.energy.report import describe_carbon
from worker.energy.sources import open_host_source
from worker.energy.visible import visible_gpus
from worker.errors import UnreadableError
from worker.schema import Flag, GpuCheck, HostCheck, HostEnergy, SelfTestReport, SiteSpec

SECONDS = 1.0


def self_test(site: SiteSpec | None = None, sleep: Callable[[float], None] = time.sleep) -> SelfTestReport:
    """Reads every GPU that NVML knows, processor and memory over the same second.

    Args:
        site: whose carbon intensity is shown; the default is the world's average.
        sleep: waits.

    Raises:
        ConfigurationError: the country or region of `site` is unknown.
    """
    carbon = carbon_model(site or SiteSpec())
    uuids = list_gpus()
    sources = {uuid: _open(uuid) for uuid in uuids}
    host = open_host_source()
    for source in sources.values():
        if isinstance(source, GpuSource):
            source.prepare()
    host.begin()
    for source in sources.values():
        if isinstance(source, GpuSource):
            source.begin()
    sleep(SECONDS)
    for source in sources.values():
        if isinstance(source, GpuSource):
            source.stop()
    of_host = host.end()
    visible = visible_gpus(uuids)
    return SelfTestReport(
        host=socket.gethostname(),
        device=describe(pick_device()),
        gpus=tuple(_check_gpu(uuid, source, is_visible=uuid in visible) for uuid, source in sources.items()),
        cpu=_check_host(of_host.cpu),
        ram=_check_host(of_host.ram),
        host_flags=_lasting(of_host),
        carbon=describe_carbon(carbon, None, None),
        carbon_flags=carbon.flags,
    )


def _open(uuid: str) -> GpuSource | UnreadableError:
    try:
        return GpuSource(GpuMonitor(lambda: open_gpu(uuid), linger_seconds=SECONDS))
    except UnreadableError as error:
        return error


def _check_gpu(uuid: str, source: GpuSource | UnreadableError, *, is_visible: bool) -> GpuCheck:
    reading = source.end() if isinstance(source, GpuSource) else Reading(None, (source.flag,))
    gpu = reading.gpu
    uncertainty = gpu.uncertainty_joules if gpu else None
    return GpuCheck(
        uuid=uuid,
        name=gpu.name if gpu else None,
        visible=is_visible,
        method=reading.method or "none",
        quality=reading.quality or "none",
        mean_watts=gpu.mean_watts if gpu else None,
        uncertainty_watts=None if uncertainty is None else uncertainty / SECONDS,
        tick_seconds=gpu.tick_seconds if gpu else None,
        driver=gpu.driver if gpu else None,
        flags=_lasting(reading),
    )


def _check_host(part: HostEnergy | None) -> HostCheck:
    if part is None or part.share_joules is None:
        return HostCheck(method="none", quality="none", mean_watts=None)
    return HostCheck(method=part.method, quality=part.quality, mean_watts=part.share_joules / SECONDS)


def _lasting(reading: Reading) -> tuple[Flag, ...]:
    """Flags that say something of the machine: one second is short by intention."""
    return tuple(flag for flag in reading.flags if flag != "short_window" or reading.joules is None)
