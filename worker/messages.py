"""What a worker and the process of a trial say to each other: frames of four bytes of length, then JSON."""

from __future__ import annotations

import struct
from typing import Annotated, BinaryIO, Literal

from pydantic import Field, TypeAdapter

from worker.schema import (
    AnyTrialSpec,
    EnergyReport,
    EpochMetrics,
    Failure,
    Frozen,
    Interim,
    SiteSpec,
    TaskDescription,
    TaskFacts,
    TrialResult,
)

_LENGTH = struct.Struct(">I")


class Run(Frozen):
    """Run this trial."""

    kind: Literal["run"] = "run"
    spec: AnyTrialSpec


class Inspect(Frozen):
    """Tell what you know of a data set, a network and a site."""

    kind: Literal["inspect"] = "inspect"
    dataset: str
    network: str
    data_dir: str | None
    download: bool
    weights_path: str | None = None
    site: SiteSpec | None = None


class Describe(Frozen):
    """Tell what you know of a task of the user's own, and of a site."""

    kind: Literal["describe"] = "describe"
    name: str
    site: SiteSpec | None = None


class Stop(Frozen):
    """End the trial that is running."""

    kind: Literal["stop"] = "stop"


class Ready(Frozen):
    """Everything is loaded."""

    kind: Literal["ready"] = "ready"


class Begun(Frozen):
    """The trial begins.

    Attributes:
        unmeasured: what its energy window would report if nobody could read it.
    """

    kind: Literal["begun"] = "begun"
    unmeasured: EnergyReport


class Epoch(Frozen):
    """An epoch of the running trial is over."""

    kind: Literal["epoch"] = "epoch"
    metrics: EpochMetrics


class SoFar(Frozen):
    """What is known of the running trial by now."""

    kind: Literal["so_far"] = "so_far"
    interim: Interim


class Done(Frozen):
    """The trial is over."""

    kind: Literal["done"] = "done"
    result: TrialResult


class Inspected(Frozen):
    """The answer to `Inspect`: exactly one of the two is there."""

    kind: Literal["inspected"] = "inspected"
    facts: TaskFacts | None = None
    failure: Failure | None = None


class Described(Frozen):
    """The answer to `Describe`: exactly one of the two is there."""

    kind: Literal["described"] = "described"
    description: TaskDescription | None = None
    failure: Failure | None = None


Message = Run | Inspect | Describe | Stop | Ready | Begun | Epoch | SoFar | Done | Inspected | Described
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def encode(message: Message) -> bytes:
    """The frame of a message."""
    body = message.model_dump_json().encode()
    return _LENGTH.pack(len(body)) + body


def read(stream: BinaryIO) -> Message | None:
    """The next message of a stream that blocks; None at its end."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    body = stream.read(length)
    return _MESSAGE.validate_json(body) if len(body) == length else None


class Decoder:
    """Puts frames together from pieces as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[Message]:
        """The messages that `piece` completes, the oldest first."""
        self._buffer += piece
        messages: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                break
            messages.append(_MESSAGE.validate_json(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return messages
