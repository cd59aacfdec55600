"""What a training that is told to stop leaves, so that the next attempt at the same trial goes on as if nothing was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import fsspec
import torch

from worker.checkpoint import Checkpoint, load_checkpoint
from worker.schema import TrialSpec


def find_rescued(spec: TrialSpec) -> Checkpoint | None:
    """What an earlier attempt at this very trial left; None where it left nothing that can be read."""
    if spec.attempt == 1 or spec.rescue_to is None or not _is_there(spec.rescue_to):
        return None
    found = load_checkpoint(spec.rescue_to)
    return found if found is not None and found.position is not None and found.trial_id == spec.trial_id else None


def drop_rescued(url: str) -> None:
    """Deletes what nobody needs any more; where that fails it goes with all checkpoints of the study."""
    with suppress(Exception):
        store, path = fsspec.core.url_to_fs(url)
        store.rm_file(path)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Meanwhile nobody interrupts: whoever waits for this process kills it where it takes too long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """State of each generator that layers draw from on `device`."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def restore_random(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Lets layers draw on from there."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _is_there(url: str) -> bool:
    try:
        store, path = fsspec.core.url_to_fs(url)
        return bool(store.exists(path))
    except Exception:  # noqa: BLE001 - a store of any kind may raise anything, and the trial can start afresh
        return False
