"""Where a trial leaves its training for a promoted one to go on: one file in a folder or store that all workers see."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import fsspec
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn, optim

from worker.schema import Leg

logger = logging.getLogger(__name__)
# Among what is remembered of a parameter: the steps of its group.
_STEP = "steps of the group"
_LEGS: TypeAdapter[tuple[Leg, ...]] = TypeAdapter(tuple[Leg, ...])


@dataclass(frozen=True)
class Checkpoint:
    """A training that can go on.

    Attributes:
        trial_id: whose it was.
        epochs: that it has been trained for, all legs together.
        shift_depth: layers that are converted.
        model: the network's state.
        optimizer: for each parameter's name what the optimizer remembers of it.
        generator: state of the generator of batch order and augmentation.
        legs: what each leg spent.
    """

    trial_id: str
    epochs: int
    shift_depth: int
    model: dict[str, Tensor]
    optimizer: dict[str, dict[str, Any]]
    generator: Tensor
    legs: tuple[Leg, ...] = field(default=())


@dataclass(frozen=True)
class Kept:
    """What an evaluation of a task left for another one to go on from.

    Attributes:
        content: of the task's own making.
        legs: what each evaluation spent so far.
    """

    content: bytes
    legs: tuple[Leg, ...]


def save_checkpoint(checkpoint: Checkpoint, url: str) -> None:
    """Writes a checkpoint whole or not at all.

    Args:
        checkpoint: on any device.
        url: of the file: a path, or anything that fsspec knows, such as s3://bucket/key.

    Raises:
        OSError: the place cannot be written.
    """
    save_document(as_document(checkpoint), url)


def as_document(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as tensors in plain containers."""
    return asdict(checkpoint) | {"legs": [leg.model_dump() for leg in checkpoint.legs]}


def from_document(document: dict[str, Any]) -> Checkpoint:
    """The checkpoint that `as_document` made one of."""
    return Checkpoint(**document | {"legs": tuple(Leg(**leg) for leg in document["legs"])})


def save_document(document: dict[str, Any], url: str) -> None:
    """Writes tensors in plain containers, whole or not at all; raises whatever the store does."""
    buffer = io.BytesIO()
    torch.save(document, buffer)
    _write(url, buffer.getvalue())


def load_document(url: str) -> dict[str, Any]:
    """Tensors in plain containers, on the CPU; raises whatever the store does."""
    store, path = fsspec.core.url_to_fs(url)
    document: dict[str, Any] = torch.load(io.BytesIO(store.cat_file(path)), map_location="cpu", weights_only=True)
    return document


@contextmanager
def or_without(what: str, where: str) -> Iterator[None]:
    """Says what cannot be written, and goes on: what a trial measured counts without it, and cost much."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a store of any kind may raise anything
        logger.error("%s cannot be written to %s, and the trial ends without: %s", what, where, error)


def load_checkpoint(url: str) -> Checkpoint | None:
    """The checkpoint at `url`, on the CPU; None, with a warning, where there is none that can be read."""
    try:
        return from_document(load_document(url))
    except Exception as error:  # noqa: BLE001 - a store of any kind may raise anything, and the trial can start afresh
        logger.warning("no checkpoint at %s, training starts from the beginning: %r", url, error)
        return None


def save_kept(kept: Kept, url: str) -> None:
    """Writes what an evaluation left, like a checkpoint: a line of JSON for the legs, then the content as it is."""
    _write(url, _LEGS.dump_json(kept.legs) + b"\n" + kept.content)


def load_kept(url: str) -> Kept | None:
    """What an evaluation left at `url`; None, with a warning, where there is nothing that can be read."""
    try:
        store, path = fsspec.core.url_to_fs(url)
        legs, _, content = store.cat_file(path).partition(b"\n")
        return Kept(content, _LEGS.validate_json(legs))
    except Exception as error:  # noqa: BLE001 - a store of any kind may raise anything, and the trial can start afresh
        logger.warning("nothing was kept at %s, the evaluation starts from the beginning: %r", url, error)
        return None


def _write(url: str, content: bytes) -> None:
    """Puts `content` in its place at once, when all of it has been written."""
    store, path = fsspec.core.url_to_fs(url)
    store.makedirs(store._parent(path), exist_ok=True)
    part = f"{path}.{uuid.uuid4().hex}.part"
    try:
        store.pipe_file(part, content)
        store.mv(part, path)
    except BaseException:
        # Half a file would take the room that is short.
        with suppress(Exception):
            store.rm_file(part)
        raise


def checkpoint_of_seed(url: str | None, index: int) -> str | None:
    """Where the checkpoint of a trial's network lies, `index` seeds after the first, whose place is `url` itself."""
    return url if url is None or index == 0 else f"{url}.{index}"


def optimizer_state(optimizer: optim.Optimizer, model: nn.Module) -> dict[str, dict[str, Any]]:
    """What `optimizer` remembers, by the names that its parameters have in `model`."""
    # Ranger counts the steps of a group of parameters together; others count those of each.
    counting = [group for group in optimizer.param_groups if "step" in group]
    counted = {p: {_STEP: group["step"]} for group in counting for p in group["params"]}
    return {
        name: dict(optimizer.state[p]) | counted.get(p, {})
        for name, p in model.named_parameters()
        if p in optimizer.state
    }


def restore_optimizer(optimizer: optim.Optimizer, model: nn.Module, state: Mapping[str, dict[str, Any]]) -> None:
    """Gives `optimizer` back what it remembered of the parameters that `model` still has, in their shapes."""
    for name, parameter in model.named_parameters():
        remembered = dict(state.get(name, {}))
        steps = remembered.pop(_STEP, None)
        if not remembered:
            continue
        tensors = [v for v in remembered.values() if isinstance(v, Tensor) and v.dim() > 0]
        if all(tensor.shape == parameter.shape for tensor in tensors):
            optimizer.state[parameter] = {
                k: v.to(parameter.device) if isinstance(v, Tensor) and v.dim() > 0 else v for k, v in remembered.items()
            }
            if steps is not None:
                (group,) = (g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
                group["step"] = steps
