"""Processor and memory by RAPL, the energy counters of a host's packages, as Linux shows them in files.

They count the whole machine. Our part of it is by processor seconds: what the machine drew while idle is shared out
along with the rest, so that the shares of all processes add up to the host's figure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.energy.poller import Poller
from worker.energy.processes import CpuSeconds, cpu_seconds
from worker.energy.reading import Reading
from worker.schema import HostEnergy, Method, Quality

logger = logging.getLogger(__name__)
POWERCAP = Path("/sys/class/powercap")
JOULES_PER_MICROJOULE = 1e-6
# A counter of 65 kJ at 300 W wraps after 220 s, and one that wraps twice unseen is wrong.
POLL_SECONDS = 30.0


@dataclass
class Domain:
    """One counter: a processor's package, or memory.

    Attributes:
        joules: counted since it was opened, wraps mended.
    """

    kind: str
    path: Path
    range_joules: float
    joules: float = 0.0
    _last: float = 0.0

    @classmethod
    def open(cls, path: Path, kind: str) -> Domain:
        """The counter in the folder `path`.

        Raises:
            OSError: it may not be read; newer kernels reserve it for root.
            ValueError: it holds no number.
        """
        domain = cls(kind, path, _microjoules(path / "max_energy_range_uj"))
        domain._last = _microjoules(path / "energy_uj")
        return domain

    def update(self) -> None:
        """Adds what has been counted since the last update, of which at most one wrap."""
        now = _microjoules(self.path / "energy_uj")
        self.joules += now - self._last if now >= self._last else now - self._last + self.range_joules
        self._last = now


class RaplSource:
    """This process's share of what packages and memory count.

    Args:
        root: folder of the counters.
        cpu: processor seconds until now.

    Raises:
        OSError: there is no counter that may be read.
        ValueError: a counter holds no number.
    """

    method: Method = "rapl"
    quality: Quality = "measured"

    def __init__(self, root: Path = POWERCAP, cpu: Callable[[], CpuSeconds] = cpu_seconds) -> None:
        self._domains = [Domain.open(path, kind) for path, kind in find_domains(root)]
        if not any(domain.kind == "package" for domain in self._domains):
            raise FileNotFoundError(f"no RAPL package in {root}")
        self._cpu = cpu
        self._lock = threading.Lock()
        self._poller = Poller(self._update_quietly, POLL_SECONDS, linger_seconds=0)
        self._start: tuple[dict[str, float], CpuSeconds] | None = None

    def begin(self) -> None:
        try:
            self._start = (self._totals(), self._cpu())
            self._poller.hold()
        except (OSError, ValueError) as error:
            logger.warning("RAPL cannot be read: %s", error)
            self._start = None

    def end(self) -> Reading:
        if self._start is None:
            return Reading(None, ("no_counter",))
        (before, cpu_before), self._start = self._start, None
        self._poller.release()
        try:
            after, share = self._totals(), self._cpu().since(cpu_before).share
        except (OSError, ValueError) as error:
            logger.warning("RAPL cannot be read: %s", error)
            return Reading(None, ("no_counter",))
        cpu = _part(after["package"] - before["package"], share)
        ram = _part(after["dram"] - before["dram"], share) if "dram" in after else None
        shares = [part.share_joules for part in (cpu, ram) if part is not None and part.share_joules is not None]
        return Reading(sum(shares) if shares else None, () if shares else ("no_counter",), cpu=cpu, ram=ram)

    def _totals(self) -> dict[str, float]:
        """Joules by kind."""
        with self._lock:
            totals: dict[str, float] = {}
            for domain in self._domains:
                domain.update()
                totals[domain.kind] = totals.get(domain.kind, 0.0) + domain.joules
            return totals

    def _update_quietly(self) -> None:
        try:
            self._totals()
        except (OSError, ValueError) as error:
            logger.warning("RAPL cannot be read: %s", error)


def find_domains(root: Path) -> Iterator[tuple[Path, str]]:
    """Folders of packages and memories. `psys` and the copies under `intel-rapl-mmio` would be counted twice."""
    for path in sorted(root.glob("intel-rapl:*")):
        try:
            name = (path / "name").read_text().strip()
        except OSError:
            continue
        if name.startswith("package"):
            yield path, "package"
        elif name == "dram":
            yield path, "dram"


def _part(host_joules: float, share: float | None) -> HostEnergy:
    own = None if share is None else host_joules * share
    return HostEnergy(method="rapl", quality="measured", share_joules=own, host_joules=host_joules)


def _microjoules(path: Path) -> float:
    return int(path.read_text()) * JOULES_PER_MICROJOULE
