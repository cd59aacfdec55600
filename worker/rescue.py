"""What an attempt that is told to end leaves, so that the next one at the same trial goes on as if nothing had been."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from worker.checkpoint import Checkpoint, as_document, from_document, load_document, or_without, save_document
from worker.energy.meter import EnergyMeter
from worker.schema import Leg, TrialResult, TrialSpec
from worker.train import Position

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unfinished:
    """The training of one seed, in the middle.

    Attributes:
        random: states of the generators that layers draw from, by kind of device.
        peak_memory_bytes: the largest memory so far; None where that is unknown.
    """

    checkpoint: Checkpoint
    position: Position
    random: dict[str, Tensor]
    peak_memory_bytes: float | None = None


@dataclass(frozen=True)
class Rescued:
    """A trial as far as it has come.

    Attributes:
        trial_id: whose it is.
        seconds: that it took, in all attempts that go on from each other.
        finished: what came of the seeds that are done.
        unfinished: of the seed after them; None where it has not begun.
    """

    trial_id: str
    seconds: float = 0.0
    finished: tuple[TrialResult, ...] = ()
    unfinished: Unfinished | None = None

    @property
    def legs(self) -> tuple[Leg, ...]:
        """All that its seeds went on from and spent."""
        ended = [leg for result in self.finished for leg in result.earlier_legs]
        return (*ended, *(self.unfinished.checkpoint.legs if self.unfinished is not None else ()))


def save_rescued(rescued: Rescued, spec: TrialSpec, make_meter: Callable[[], EnergyMeter]) -> bool:
    """Whether it was asked for, is of use and could be written; nobody interrupts this process meanwhile.

    What the next attempt would refuse must not take the place of what an earlier one left.
    """
    if spec.rescue_to is None:
        return False
    url = _place(spec.rescue_to, spec.attempt)
    if (why := _objection(spec, rescued, make_meter())) is not None:
        logger.warning("trial %s leaves nothing of this attempt: its training %s", spec.trial_id, why)
        return False
    begun = rescued.unfinished
    document = {
        "trial_id": rescued.trial_id,
        "seconds": rescued.seconds,
        "finished": [result.model_dump_json() for result in rescued.finished],
        "unfinished": None
        if begun is None
        else {
            "checkpoint": as_document(begun.checkpoint),
            "position": asdict(begun.position),
            "random": begun.random,
            "peak_memory_bytes": begun.peak_memory_bytes,
        },
    }
    is_saved = False
    with _undisturbed(), or_without("what was trained", url):
        save_document(document, url)
        is_saved = True
    return is_saved


def find_rescued(spec: TrialSpec, make_meter: Callable[[], EnergyMeter]) -> Rescued:
    """What an earlier attempt at the trial of `spec` left for it; nothing, with a warning, where that is of no use."""
    fresh = Rescued(spec.trial_id)
    if spec.rescue_to is None or spec.rescued is None:
        return fresh
    url = _place(spec.rescue_to, spec.rescued)
    try:
        found = _from_document(load_document(url))
    except Exception as error:  # noqa: BLE001 - a store of any kind may raise anything, and the trial can begin anew
        logger.warning("trial %s begins anew: nothing to go on from at %s: %r", spec.trial_id, url, error)
        return fresh
    if (why := _objection(spec, found, make_meter())) is not None:
        logger.warning("trial %s begins anew: %s %s", spec.trial_id, url, why)
        return fresh
    return found


def _place(folder: str, attempt: int) -> str:
    """Each attempt has its own, so that none takes away what another one reads."""
    return f"{folder.rstrip('/')}/{attempt}.pt"


def _objection(spec: TrialSpec, found: Rescued, meter: EnergyMeter) -> str | None:
    """Why a trial cannot go on from what was found: energies that are known in two ways have no sum."""
    if found.trial_id != spec.trial_id:
        return f"is of trial {found.trial_id}"
    for leg in found.legs:
        if leg.trial_id == spec.trial_id and (leg.method, leg.device) != (meter.source.method, meter.device):
            ours = f"{meter.source.method} on {meter.device}"
            return f"has energy by {leg.method} on {leg.device}, and here it would be {ours}"
    return None


def _from_document(document: dict[str, Any]) -> Rescued:
    begun = document["unfinished"]
    return Rescued(
        trial_id=document["trial_id"],
        seconds=document["seconds"],
        finished=tuple(TrialResult.model_validate_json(result) for result in document["finished"]),
        unfinished=None
        if begun is None
        else Unfinished(
            checkpoint=from_document(begun["checkpoint"]),
            position=Position(**begun["position"]),
            random=begun["random"],
            peak_memory_bytes=begun["peak_memory_bytes"],
        ),
    )


def random_states(device: torch.device) -> dict[str, Tensor]:
    """State of each generator that layers draw from on `device`."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def restore_random(states: dict[str, Tensor], device: torch.device) -> None:
    """Lets layers draw on from there."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Meanwhile nobody interrupts: whoever waits for this process kills it where it takes too long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
