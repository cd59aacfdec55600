"""Weights to start from: a state dict in a file, put into a network before any layer is converted."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shiftlayers import shiftable_layers
from worker.errors import ConfigurationError

logger = logging.getLogger(__name__)

_SHOWN = 5


def load_weights(model: nn.Module, path: Path, example_input: Tensor) -> None:
    """Puts the state dict of `path` into `model`; a classifier head of another shape stays as it was initialised.

    The head is the last convolution or linear layer that runs. Everything else must fit.

    Args:
        model: a network without shift layers.
        path: a .safetensors file, or what `torch.save(model.state_dict(), path)` writes; it cannot run code.
        example_input: one image, (1, channels, height, width).

    Raises:
        ConfigurationError: no such file, no state dict in it, or keys that do not fit, by name.
    """
    state = _read(path)
    wanted = model.state_dict()
    head = next(reversed(shiftable_layers(model, example_input)), None)
    other_shape = {key for key, value in state.items() if key in wanted and value.shape != wanted[key].shape}
    fresh = {key for key in wanted if key.rpartition(".")[0] == head and (key in other_shape or key not in state)}
    result = model.load_state_dict({k: v for k, v in state.items() if k not in fresh | other_shape}, strict=False)
    problems = {
        "missing": set(result.missing_keys) - fresh - other_shape,
        "unknown": set(result.unexpected_keys),
        "of another shape": other_shape - fresh,
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {_listed(keys)}" for kind, keys in problems.items() if keys)
        raise ConfigurationError(f"weights {path} does not fit the network: {listed}")
    if fresh:
        logger.info("the classifier head %s does not fit %s and starts from random weights", head, path)


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ConfigurationError(f"weights must be a file that the worker sees, got {path}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except (OSError, EOFError, ValueError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(f"weights {path} hold no tensors that can be read: {reason}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigurationError(f"weights {path} must hold a state dict: tensors by name")
    return state


def _read_torch(path: Path) -> object:
    content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _listed(keys: Collection[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(sorted(keys)[:_SHOWN]) + more
