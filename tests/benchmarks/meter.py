"""What the energy meter itself costs: time at the edges of a window, and processor time while it is open."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from worker.energy.meter import EnergyMeter
from worker.energy.nvml import list_gpus
from worker.energy.sources import open_source

FAKE = Path(__file__).parents[1] / "fakes" / "fake_nvml.c"


@dataclass(frozen=True)
class MeterOverhead:
    """Seconds, medians over windows; processor time as a share of one core.

    Attributes:
        source: the method that was read.
        begin_seconds: from entering the meter until the work may begin.
        end_seconds: from the end of the work until the report is there.
        open_share: processor time that reading takes while the window is open.
        slowdown: time of a busy loop within a window over that without, less one; the noise of the machine included.
    """

    source: str
    begin_seconds: float
    end_seconds: float
    open_share: float
    slowdown: float


def measure_meter_overhead(n_windows: int = 5, seconds: float = 1.0) -> MeterOverhead:
    """Overhead of the meter that a trial on this machine would use, after one window to warm up."""
    uuids = list_gpus()
    meter = EnergyMeter(open_source(uuids[0] if uuids else None), "benchmark", lambda: None)
    with meter:
        time.sleep(0.2)
    begins, ends, shares, ratios = [], [], [], []
    n = _calibrate(seconds)
    for _ in range(n_windows):
        plain = _busy(n)
        started = time.perf_counter()
        with meter:
            begins.append(time.perf_counter() - started)
            ratios.append(_busy(n) / plain - 1)
            before = time.process_time()
            time.sleep(seconds)
            shares.append((time.process_time() - before) / seconds)
            ended = time.perf_counter()
        ends.append(time.perf_counter() - ended)
    median = statistics.median
    return MeterOverhead(meter.report().method, median(begins), median(ends), median(shares), median(ratios))


def measure_on_fake_gpu() -> str:
    """What `measure_meter_overhead` says in a process with a fake GPU, whose calls cost next to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        build = ["gcc", "-O1", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", "-o", str(library), str(FAKE)]
        subprocess.run(build, check=True)
        command = [sys.executable, "-m", "tests.benchmarks.meter"]
        environment = os.environ | {"LD_LIBRARY_PATH": folder}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def _calibrate(seconds: float) -> int:
    """Rounds of the busy loop that take about `seconds`."""
    return max(1, int(200_000 * seconds / _busy(200_000)))


def _busy(n: int) -> float:
    """Seconds of a loop that holds the interpreter, as a training step's Python does."""
    started = time.perf_counter()
    total = 0
    for i in range(n):
        total += i & 7
    return time.perf_counter() - started


if __name__ == "__main__":
    print(measure_meter_overhead())
