"""What every source of joules gives back for a window, and the source that has nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from worker.schema import Flag, GpuEnergy, HostEnergy, Method, Quality


@dataclass(frozen=True)
class Reading:
    """Joules of one window, or None with the reason among the flags.

    Attributes:
        method: where this window was read, if not where its source usually reads.
        quality: likewise.
        gpu: all that is known of the GPU.
        cpu: of the processor.
        ram: of the memory.
    """

    joules: float | None
    flags: tuple[Flag, ...] = ()
    method: Method | None = None
    quality: Quality | None = None
    gpu: GpuEnergy | None = None
    cpu: HostEnergy | None = None
    ram: HostEnergy | None = None


class Source(Protocol):
    """One way to read energy; `begin` and `end` enclose one window at a time."""

    @property
    def method(self) -> Method:
        """How it usually reads."""

    @property
    def quality(self) -> Quality:
        """How well that is."""

    def begin(self) -> None:
        """Starts a window; may wait until it can; never raises."""

    def end(self) -> Reading:
        """Ends the window at once, then may wait for its figure; trouble becomes a flag and None, never an error."""


class NoSource:
    """Nothing to read: every window is unknown."""

    method: Method = "none"
    quality: Quality = "none"

    def begin(self) -> None:
        pass

    def end(self) -> Reading:
        return Reading(None, ("no_counter",))
