"""The one door to NVML: a GPU by its UUID, its counter, its power and its state; trouble is an `UnreadableError`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

from worker.errors import UnreadableError
from worker.schema import Flag

JOULES_PER_MILLIJOULE = 1e-3
POWER_INSTANT_FIELD = 186
_LOST = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
T = TypeVar("T")


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment; None is unknown. Power limit in watts, temperature in degrees Celsius, clock in MHz.

    Attributes:
        pids: processes with a compute context, as the kernel's first namespace numbers them.
    """

    power_limit_watts: float | None
    temperature_celsius: float | None
    sm_megahertz: float | None
    pids: tuple[int, ...] | None


class Gpu:
    """A GPU that NVML knows.

    Attributes:
        uuid: as NVML spells it, of the whole GPU where a MIG slice was asked for.
        is_mig: it is cut into slices, which have no counter of their own.
        name: for people, or None.
        driver: version, or None.
    """

    def __init__(self, handle: Any, uuid: str, *, is_mig: bool) -> None:
        self._handle = handle
        self.uuid, self.is_mig = uuid, is_mig
        self.name: str | None = _or_none(lambda: str(pynvml.nvmlDeviceGetName(handle)))
        self.driver: str | None = _or_none(lambda: str(pynvml.nvmlSystemGetDriverVersion()))

    def joules(self) -> float:
        """The energy counter, since the driver was loaded.

        Raises:
            UnreadableError: the GPU has none (before Volta, some virtual GPUs), or it is lost.
        """
        millijoules: int = _call(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return millijoules * JOULES_PER_MILLIJOULE

    def watts(self) -> float:
        """Instantaneous power; on drivers without that field NVML's own figure, on newer GPUs an average over 1 s.

        Raises:
            UnreadableError: neither can be read.
        """
        try:
            return self._instant_watts()
        except UnreadableError as error:
            if error.flag == "gpu_lost":
                raise
        milliwatts: int = _call(lambda: pynvml.nvmlDeviceGetPowerUsage(self._handle))
        return milliwatts * 1e-3

    def state(self) -> GpuState:
        """What else may explain the energy; never raises."""
        handle = self._handle
        return GpuState(
            _or_none(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) * 1e-3),
            _or_none(lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
            _or_none(lambda: float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))),
            _or_none(lambda: tuple(int(p.pid) for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        )

    def _instant_watts(self) -> float:
        field = _call(lambda: pynvml.nvmlDeviceGetFieldValues(self._handle, [POWER_INSTANT_FIELD]))[0]
        if field.nvmlReturn != pynvml.NVML_SUCCESS:
            raise _unreadable(pynvml.NVMLError(field.nvmlReturn))
        return float(field.value.uiVal) * 1e-3


def open_gpu(uuid: str) -> Gpu:
    """The GPU, or the GPU of the MIG slice, that `uuid` names.

    CUDA gives a slice its own UUID without the prefix, so `GPU-` is tried as `MIG-` too.

    Raises:
        UnreadableError: no library, no driver, no permission, or no such GPU.
    """
    _call(pynvml.nvmlInit)
    if uuid.startswith("MIG-GPU-"):
        # The spelling of drivers before R470: MIG-GPU-<uuid of the GPU>/<instance>/<instance>.
        uuid = uuid.removeprefix("MIG-").split("/")[0]
        return Gpu(_handle_of(uuid), uuid, is_mig=True)
    try:
        handle = _handle_of(uuid)
    except UnreadableError:
        if not uuid.startswith("GPU-"):
            raise
        return _open_slice("MIG-" + uuid.removeprefix("GPU-"))
    return _open_slice(uuid) if uuid.startswith("MIG-") else Gpu(handle, uuid, is_mig=_is_cut(handle))


def list_gpus() -> list[str]:
    """UUIDs of all GPUs in NVML's order, that of the PCI bus; empty without a driver."""
    try:
        _call(pynvml.nvmlInit)
        n: int = _call(pynvml.nvmlDeviceGetCount)
        handles = [_call(lambda i=i: pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(n)]  # type: ignore[misc]
        return [str(_call(lambda h=h: pynvml.nvmlDeviceGetUUID(h))) for h in handles]  # type: ignore[misc]
    except UnreadableError:
        return []


def _open_slice(uuid: str) -> Gpu:
    handle = _handle_of(uuid)
    parent = _or_none(lambda: pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
    name = _or_none(lambda: str(pynvml.nvmlDeviceGetUUID(parent))) if parent is not None else None
    return Gpu(parent if parent is not None else handle, name or uuid, is_mig=True)


def _handle_of(uuid: str) -> Any:
    return _call(lambda: pynvml.nvmlDeviceGetHandleByUUID(uuid))


def _is_cut(handle: Any) -> bool:
    mode = _or_none(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    return mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def _call(read: Callable[[], T]) -> T:
    try:
        return read()
    except pynvml.NVMLError as error:
        raise _unreadable(error) from error


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except pynvml.NVMLError:
        return None


def _unreadable(error: Any) -> UnreadableError:
    flag: Flag = "gpu_lost" if error.value in _LOST else "no_counter"
    return UnreadableError(flag, f"NVML: {error}")
