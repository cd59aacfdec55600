"""Shift networks as files in which a weight takes its few bits."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shiftlayers.batch_norm import ShiftBatchNorm, convert_batch_norm
from shiftlayers.config import ShiftConfig
from shiftlayers.flat import quantize_together
from shiftlayers.fold import evaluated_weight, plain_layer
from shiftlayers.modules import SHIFT_TYPES, ShiftLayer
from shiftlayers.swap import replace_layer

_FORMAT = 1
_HEADER = "shiftlayers"


def save_packed(model: nn.Module, path: str | Path) -> None:
    """Writes `model` to a safetensors file in which a shift weight takes `weight_bits` bits, and all else its own.

    Only the weights that evaluation computes with are kept, not the latents behind them. The header is JSON under
    the key `shiftlayers`: for each shift layer its config and shape.

    Args:
        model: any network; every tensor of its layers is written.
        path: of the file.

    Raises:
        ValueError: a weight is not finite, or its layer was changed to something that its config does not describe.
    """
    shift_layers = {n: m for n, m in model.named_modules() if isinstance(m, ShiftLayer)}
    # Tied tensors are written once for each of their names.
    tensors = {
        k: v.detach().clone().contiguous()
        for k, v in model.state_dict().items()
        if k.rpartition(".")[0] not in _names_of(model, ShiftLayer)
    }
    layers: dict[str, Any] = {}
    for name, layer in shift_layers.items():
        weight = evaluated_weight(layer)
        layers[name] = {"shape": list(weight.shape), "config": asdict(layer.config)}
        tensors |= {f"{name}.{key}": value for key, value in _pack_layer(layer, weight).items()}
    norms = _names_of(model, ShiftBatchNorm)
    header = json.dumps({"format": _FORMAT, "layers": layers, "batch_norms": norms}, sort_keys=True)
    save_file(tensors, path, metadata={_HEADER: header})


def load_packed(path: str | Path, model: nn.Module) -> nn.Module:
    """Gives `model` the layers and values of a packed file and returns it; evaluation is equal bit for bit.

    Args:
        path: of a file that `save_packed` wrote.
        model: a network of the same architecture, its layers plain or shift layers; changed in place.

    Raises:
        ValueError: the file is no packed network, or not of this architecture.
    """
    with safe_open(path, framework="pt") as file:
        header = _read_header(file.metadata(), path)
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    for name, description in header["layers"].items():
        config = _read_config(description["config"])
        packed = {key: tensors.pop(f"{name}.{key}") for key in _KEYS if f"{name}.{key}" in tensors}
        weight, scale = _unpack_layer(packed, tuple(description["shape"]), config)
        model = _put(model, name, weight, scale, packed.get("bias"), config)
    model = _put_batch_norms(model, header["batch_norms"], path)
    state = OrderedDict(tensors)
    # Which versions of its modules the state is of: some refuse to load without.
    state._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    missing, unexpected = model.load_state_dict(state, strict=False)
    ours = tuple(f"{name}." if name else "" for name in _names_of(model, ShiftLayer))
    if unexpected or any(not key.startswith(ours) for key in missing):
        raise ValueError(f"{path} is of another architecture: missing {missing}, unexpected {unexpected}")
    quantize_together(model)
    return model


# Tensors of one packed layer: codes of b bits, the scale's exponents, places of exact zeros that have no code, bias.
_KEYS = ("codes", "scale_exponent", "zeros", "bias")


def _pack_layer(layer: ShiftLayer, weight: Tensor) -> dict[str, Tensor]:
    scale = layer.scale
    unscaled = (weight if scale is None else weight / scale).cpu().reshape(-1)
    table = torch.tensor(layer.config.levels)
    codes = torch.bucketize(unscaled.abs(), table).clamp_max(len(table) - 1)
    zeros = torch.nonzero(unscaled == 0).reshape(-1) if table[0] > 0 else torch.empty(0, dtype=torch.int64)
    if not torch.equal(table[codes].index_fill(0, zeros, 0.0), unscaled.abs()):
        raise ValueError(f"weights of a {layer.config.quantizer} layer are off its levels; are they finite?")
    signed = codes | (torch.signbit(unscaled).to(torch.int64) << (layer.config.weight_bits - 1))
    packed = {"codes": torch.from_numpy(_to_bits(signed.numpy(), layer.config.weight_bits))}
    if scale is not None:
        packed["scale_exponent"] = torch.log2(scale.cpu().double()).round().to(torch.int16)
    if len(zeros):
        packed["zeros"] = zeros
    if layer.bias is not None:
        packed["bias"] = cast(Tensor, layer.bias).detach().contiguous()
    return packed


def _unpack_layer(
    packed: dict[str, Tensor], shape: tuple[int, ...], config: ShiftConfig
) -> tuple[Tensor, Tensor | None]:
    """The effective weight and the scale of one packed layer."""
    n = int(np.prod(shape))
    signed = torch.from_numpy(_from_bits(packed["codes"].numpy(), config.weight_bits, n))
    top = 1 << (config.weight_bits - 1)
    magnitude = torch.tensor(config.levels)[signed & (top - 1)]
    if "zeros" in packed:
        magnitude[packed["zeros"]] = 0.0
    weight = torch.where(signed >= top, -magnitude, magnitude).reshape(shape)
    if "scale_exponent" not in packed:
        return weight, None
    scale = torch.exp2(packed["scale_exponent"].double()).float()
    return weight * scale, scale


def _to_bits(codes: NDArray[np.int64], n_bits: int) -> NDArray[np.uint8]:
    """Codes of `n_bits` bits each, one after the other, the last byte filled up with zeros."""
    bits = (codes[:, None] >> np.arange(n_bits)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little")


def _from_bits(packed: NDArray[np.uint8], n_bits: int, n: int) -> NDArray[np.int64]:
    bits = np.unpackbits(packed, count=n * n_bits, bitorder="little").reshape(n, n_bits)
    return bits.astype(np.int64) @ (1 << np.arange(n_bits))


def _put(
    model: nn.Module, name: str, weight: Tensor, scale: Tensor | None, bias: Tensor | None, config: ShiftConfig
) -> nn.Module:
    """`model` with a shift layer of these values in the place of the layer `name`."""
    try:
        old = model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"the network has no layer {name!r}") from error
    plain = plain_layer(old) if isinstance(old, ShiftLayer) else old
    if type(plain) not in SHIFT_TYPES or plain.weight.shape != weight.shape:
        raise ValueError(f"layer {name!r} must be a convolution or linear layer with weight {tuple(weight.shape)}")
    as_before = cast(Tensor, plain.weight)
    layer = SHIFT_TYPES[type(plain)].from_weights(
        plain, config, weight.to(as_before), None if scale is None else scale.to(as_before)
    )
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias.to(as_before)))
    return replace_layer(model, old, layer)


def _put_batch_norms(model: nn.Module, names: list[str], path: str | Path) -> nn.Module:
    """`model` with a power of two as the factor of exactly those batch normalisations."""
    for name in names:
        norm = model.get_submodule(name)
        if not isinstance(norm, ShiftBatchNorm):
            model = replace_layer(model, norm, convert_batch_norm(norm))
    if _names_of(model, ShiftBatchNorm) != names:
        raise ValueError(f"{path} is of another architecture: its power-of-two batch normalisations are {names}")
    return model


def _names_of(model: nn.Module, kind: type[nn.Module]) -> list[str]:
    """All names of all modules of a kind."""
    return sorted(n for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, kind))


def _read_header(metadata: dict[str, str] | None, path: str | Path) -> dict[str, Any]:
    header = json.loads((metadata or {}).get(_HEADER, "{}"))
    if header.get("format") != _FORMAT:
        raise ValueError(f"{path} is no packed shift network of format {_FORMAT}")
    return cast(dict[str, Any], header)


def _read_config(values: dict[str, Any]) -> ShiftConfig:
    bits = values["activation_bits"]
    return ShiftConfig(**values | {"activation_bits": None if bits is None else tuple(bits)})
