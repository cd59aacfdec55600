"""What all messages of a worker are made of: immutable models, and figures that say where they come from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Method = Literal[
    "nvml_energy_timeline",
    "nvml_energy_delta",
    "nvml_power_integral",
    "rapl",
    "codecarbon",
    "analytic",
    "evaluation",
    "none",
]
Quality = Literal["measured", "integrated", "estimated", "none"]


class Frozen(BaseModel):
    """What crosses a process: immutable, every number finite, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measurement(Frozen):
    """One objective's value with where it came from; None where it could not be obtained."""

    value: float | None
    unit: str
    method: Method
    quality: Quality
