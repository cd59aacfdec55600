"""The fake NVML in this very process, steered by environment variables, in simulated time or the machine's own."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.fakes.nvml import FIRST_GPU, LIBRARY
from tests.fakes.simulated import SimulatedTime
from worker.energy.monitor import GpuMonitor
from worker.energy.nvml import open_gpu

PERIOD_SECONDS, LOW_WATTS, HIGH_WATTS = 2.0, 60.0, 300.0


@pytest.fixture
def nvml(fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Loads the fake in place of any real library; `setenv` steers it, also while a window is open."""
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(fake_nvml / LIBRARY)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    yield monkeypatch
    # A sampler must not outlive the library that it reads.
    for thread in threading.enumerate():
        if thread.name == "greenshift-energy":
            thread.join(timeout=60)
            assert not thread.is_alive()


@pytest.fixture
def simulated(nvml: pytest.MonkeyPatch) -> Iterator[SimulatedTime]:
    """Time that moves only where somebody sleeps, for the fake and for monitors that are made with it."""
    now_ms = ctypes.c_double.in_dll(pynvml.nvmlLib, "fnvml_now_ms")
    yield SimulatedTime(lambda seconds: setattr(now_ms, "value", seconds * 1e3))
    now_ms.value = 0.0


def monitor_of(time: SimulatedTime, uuid: str = FIRST_GPU, *, linger_seconds: float = 0.0) -> GpuMonitor:
    """The monitor of a GPU of the fake, which looks at it in simulated time."""
    return GpuMonitor(lambda: open_gpu(uuid), time.clock, time.sleep, time.poller, linger_seconds)


def square_wave(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second at 300 W, one at 60 W, on the first GPU."""
    monkeypatch.setenv("FNVML_LO", str(LOW_WATTS * 1e3))
    monkeypatch.setenv("FNVML_HI", str(HIGH_WATTS * 1e3))
    monkeypatch.setenv("FNVML_PERIOD_MS", str(PERIOD_SECONDS * 1e3))


def true_joules(start: float, end: float) -> float:
    """Energy of the square wave between two times of the wall clock, in closed form."""
    return _joules_until(end) - _joules_until(start)


def _joules_until(seconds: float) -> float:
    n_periods, rest = divmod(seconds, PERIOD_SECONDS)
    half = PERIOD_SECONDS / 2
    high, low = min(rest, half), max(0.0, rest - half)
    return n_periods * half * (LOW_WATTS + HIGH_WATTS) + high * HIGH_WATTS + low * LOW_WATTS
