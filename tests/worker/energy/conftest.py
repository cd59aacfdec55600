from __future__ import annotations

from tests.fakes.in_process import nvml, simulated
from tests.fakes.nvml import fake_nvml

__all__ = ["fake_nvml", "nvml", "simulated"]
