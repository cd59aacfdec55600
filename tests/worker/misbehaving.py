"""Networks that bring down the process they train in, each in its own way; registered by being imported."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from worker.models import NETWORKS

_hoard: list[bytearray] = []


class Misbehaving(nn.Module):
    """A linear classifier that calls `misdeed` in each training step."""

    def __init__(self, misdeed: Callable[[], object], in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.misdeed = misdeed
        self.head = nn.Linear(in_channels * 64, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and len(images) > 1:
            self.misdeed()
        logits: Tensor = self.head(images.flatten(1))
        return logits


class SlowToJudge(Misbehaving):
    """Trains at once, and sleeps where it is evaluated."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training and len(images) > 1:
            time.sleep(600)
        return super().forward(images)


def hoard() -> None:
    """Another 64 MiB that are really there."""
    _hoard.append(bytearray(os.urandom(1) * 2**26))
    time.sleep(0.01)


def hold_the_lock() -> None:
    """Minutes in one call that lets no other Python run: no handler, no thread."""
    sum(range(10**12))


def chatter() -> None:
    """A megabyte on both outputs, and a line that looks like a message."""
    sys.stdout.write("x" * 2**19)
    sys.stderr.write("x" * 2**19)
    os.write(1, b"\0\0\0\2{}")


def assert_on_the_gpu() -> None:
    """A device-side assertion: the CUDA context is lost."""
    torch.zeros(2, device="cuda")[torch.tensor([7], device="cuda")]
    torch.cuda.synchronize()


def fill_the_gpu() -> None:
    torch.zeros(2**50, dtype=torch.uint8, device="cuda")


def refuse() -> None:
    raise RuntimeError("a bug in the network")


MISDEEDS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(7),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hoard": hoard,
    "sleep": lambda: time.sleep(600),
    "hold-the-lock": hold_the_lock,
    "slow": lambda: time.sleep(0.05),
    "refuse": refuse,
    "no-memory": lambda: bytearray(2**62),
    "chatter": chatter,
    "assert-on-the-gpu": assert_on_the_gpu,
    "fill-the-gpu": fill_the_gpu,
}


def _register(name: str, kind: type[Misbehaving], misdeed: Callable[[], object]) -> None:
    NETWORKS[name] = lambda in_channels, n_classes: kind(misdeed, in_channels, n_classes)


for _name, _misdeed in MISDEEDS.items():
    _register(_name, Misbehaving, _misdeed)
_register("slow-to-judge", SlowToJudge, lambda: None)
