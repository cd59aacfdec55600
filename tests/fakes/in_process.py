"""The fake NVML in this very process, steered by environment variables, and the truth about its square wave."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.fakes.nvml import LIBRARY

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
            thread.join(timeout=5)
            assert not thread.is_alive()


def square_wave(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second at 300 W, one at 60 W, on the first GPU."""
    monkeypatch.setenv("FNVML_LO", str(LOW_WATTS * 1e3))
    monkeypatch.setenv("FNVML_HI", str(HIGH_WATTS * 1e3))
    monkeypatch.setenv("FNVML_PERIOD_MS", str(PERIOD_SECONDS * 1e3))


def true_joules(start: float, end: float) -> float:
    """Energy of the square wave between two times of the wall clock, in closed form."""
    return _joules_until(end) - _joules_until(start)


def wait_for_phase(phase: float) -> None:
    """Sleeps until the square wave is at `phase` seconds of its period."""
    time.sleep((phase - time.time()) % PERIOD_SECONDS)


def _joules_until(seconds: float) -> float:
    n_periods, rest = divmod(seconds, PERIOD_SECONDS)
    half = PERIOD_SECONDS / 2
    high, low = min(rest, half), max(0.0, rest - half)
    return n_periods * half * (LOW_WATTS + HIGH_WATTS) + high * HIGH_WATTS + low * LOW_WATTS
