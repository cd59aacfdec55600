"""Networks that bring down the process they train in, each in its own way: entry points that tests install."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from worker import supervision

# The environment variable that names a file, which is there once a trial does what never ends.
BEGUN = "GREENSHIFT_TEST_BEGUN"
_hoard: list[bytearray] = []


class Misbehaving(nn.Module):
    """A linear classifier that calls `misdeed` in each training step."""

    def __init__(self, misdeed: Callable[[], object], image_shape: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        self.misdeed = misdeed
        self.head = nn.Linear(math.prod(image_shape), n_classes)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and len(images) > 1:
            self.misdeed()
        logits: Tensor = self.head(images.flatten(1))
        return logits


class SlowToJudge(Misbehaving):
    """Trains at once, and sleeps where it is evaluated."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training and len(images) > 1:
            sleep()
        return super().forward(images)


def sleep() -> None:
    """Minutes in one call, which a signal wakes."""
    Path(os.environ[BEGUN]).touch()
    time.sleep(600)


def hoard() -> None:
    """Another 64 MiB that are really there, up to half a GiB."""
    if len(_hoard) < 8:
        _hoard.append(bytearray(os.urandom(1) * 2**26))
    time.sleep(0.01)


def hold_the_lock() -> None:
    """Minutes in one call that lets no other Python run: no handler, no thread."""
    Path(os.environ[BEGUN]).touch()
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


def die_with_seed_one() -> None:
    """Dies where the second of several seeds is trained."""
    if torch.initial_seed() == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise RuntimeError("a bug in the network")


MISDEEDS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(7),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "killed-with-seed-one": die_with_seed_one,
    "hoard": hoard,
    "sleep": sleep,
    "hold-the-lock": hold_the_lock,
    "slow": lambda: time.sleep(0.05),
    "refuse": refuse,
    "no-memory": lambda: bytearray(2**62),
    "chatter": chatter,
    "assert-on-the-gpu": assert_on_the_gpu,
    "fill-the-gpu": fill_the_gpu,
}


NETWORKS = SimpleNamespace(
    **{name.replace("-", "_"): partial(Misbehaving, misdeed) for name, misdeed in MISDEEDS.items()},
    slow_to_judge=partial(SlowToJudge, MISDEEDS["none"]),
)


def jump_once_begun(monkeypatch: pytest.MonkeyPatch, begun: Path) -> None:
    """Limits of time pass when a trial says that it does what never ends, and not before."""
    monkeypatch.setenv(BEGUN, str(begun))
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * begun.exists())
    monkeypatch.setattr(supervision, "time", clock)


def install(folder: Path) -> None:
    """Makes `folder` one that gives these networks to whoever has it on the module path."""
    information = folder / "misbehaving-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    points = [f"{name.replace('_', '-')} = {__name__}:NETWORKS.{name}" for name in vars(NETWORKS)]
    (information / "entry_points.txt").write_text("\n".join(["[greenshift.networks]", *points, ""]))
