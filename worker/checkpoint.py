"""Where a trial leaves its training for a promoted one to go on: one file in a folder or store that all workers see."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import fsspec
import torch
from torch import Tensor, nn, optim

from worker.schema import Leg

logger = logging.getLogger(__name__)


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


def save_checkpoint(checkpoint: Checkpoint, url: str) -> None:
    """Writes a checkpoint whole or not at all.

    Args:
        checkpoint: on any device.
        url: of the file: a path, or anything that fsspec knows, such as s3://bucket/key.

    Raises:
        OSError: the place cannot be written.
    """
    content = asdict(checkpoint) | {"legs": [leg.model_dump() for leg in checkpoint.legs]}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    store, path = fsspec.core.url_to_fs(url)
    store.makedirs(store._parent(path), exist_ok=True)
    part = f"{path}.{uuid.uuid4().hex}.part"
    store.pipe_file(part, buffer.getvalue())
    store.mv(part, path)


def load_checkpoint(url: str) -> Checkpoint | None:
    """The checkpoint at `url`, on the CPU; None, with a warning, where there is none that can be read."""
    try:
        store, path = fsspec.core.url_to_fs(url)
        content = torch.load(io.BytesIO(store.cat_file(path)), map_location="cpu", weights_only=True)
        return Checkpoint(**content | {"legs": tuple(Leg(**leg) for leg in content["legs"])})
    except Exception as error:  # noqa: BLE001 - a store of any kind may raise anything, and the trial can start afresh
        logger.warning("no checkpoint at %s, training starts from the beginning: %r", url, error)
        return None


def checkpoint_of_seed(url: str | None, index: int) -> str | None:
    """Where the checkpoint of a trial's network lies, `index` seeds after the first, whose place is `url` itself."""
    return url if url is None or index == 0 else f"{url}.{index}"


def optimizer_state(optimizer: optim.Optimizer, model: nn.Module) -> dict[str, dict[str, Any]]:
    """What `optimizer` remembers, by the names that its parameters have in `model`."""
    return {name: dict(optimizer.state[p]) for name, p in model.named_parameters() if p in optimizer.state}


def restore_optimizer(optimizer: optim.Optimizer, model: nn.Module, state: Mapping[str, dict[str, Any]]) -> None:
    """Gives `optimizer` back what it remembered of the parameters that `model` still has, in their shapes."""
    for name, parameter in model.named_parameters():
        remembered = state.get(name)
        if remembered is None:
            continue
        tensors = [v for v in remembered.values() if isinstance(v, Tensor) and v.dim() > 0]
        if all(tensor.shape == parameter.shape for tensor in tensors):
            optimizer.state[parameter] = {
                k: v.to(parameter.device) if isinstance(v, Tensor) and v.dim() > 0 else v for k, v in remembered.items()
            }
