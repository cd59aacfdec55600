"""Families of networks that one study can compare: shift layers, 8-bit integers, or plain floating point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from shiftlayers import CostEstimate, ShiftConfig, convert_to_shift, estimate_cost
from shiftlayers.tracing import trace
from worker.errors import ConfigurationError
from worker.models import build_network, example_input, load_weights
from worker.schema import Family, Recipe, TrialSpec

# Weight of the latest batch in the running range of inputs.
_RANGE_MOMENTUM = 0.1
_WEIGHT_MAX, _INPUT_MAX = 127, 255


class Images(Protocol):
    """What a network must fit: a data set, or what is known of one."""

    @property
    def image_shape(self) -> tuple[int, int, int]: ...

    @property
    def n_classes(self) -> int: ...


def build_model(spec: TrialSpec, data: Images) -> nn.Module:
    """The network of `spec` as a fresh start, on the CPU, from torch's global seed.

    Raises:
        ConfigurationError: the network does not exist, has fewer layers or does not fit the weights to start from.
    """
    model = build_network(spec.network, data.image_shape, data.n_classes)
    if spec.weights_path is not None:
        load_weights(model, Path(spec.weights_path), example_input(data.image_shape))
    return convert(model, spec, spec.shift_depth, data)


def convert(model: nn.Module, spec: TrialSpec, depth: int, data: Images) -> nn.Module:
    """`model` with its last `depth` layers of the family of `spec`; layers that are so already keep what they learned.

    Raises:
        ConfigurationError: the network has fewer layers.
    """
    example = example_input(data.image_shape)
    try:
        if spec.family == "shift":
            return convert_to_shift(model, shift_config(spec.recipe), depth, example_input=example)
        names = quantizable_layers(model, example)
        if not 0 <= depth <= len(names):
            raise ValueError(f"depth must be 0..{len(names)}, the layers of this network that may be converted, "
                             f"got {depth}")  # fmt: skip
    except ValueError as error:
        raise ConfigurationError(f"shift_depth of {spec.network}: {error}") from error
    if spec.family == "int8":
        for name in names[len(names) - depth :]:
            _quantize(model, name)
    return model


def quantizable_layers(model: nn.Module, example: Tensor) -> list[str]:
    """Names of the layers that are or can become layers of 8 bits, first run first."""
    return [t.name for t in trace(model, example) if type(t.module) in (*_INT8, *_INT8.values())]


def shift_config(recipe: Recipe) -> ShiftConfig:
    """What the shift layers of `recipe` are made of."""
    return ShiftConfig(
        quantizer=recipe.quantizer,
        weight_bits=recipe.weight_bits,
        rounding=recipe.rounding if recipe.quantizer not in ("s3", "denseshift") else "nearest",
        activation_bits=(recipe.activation_integer_bits, recipe.activation_fraction_bits),
    )


def deployment_cost(model: nn.Module, family: Family, image_shape: tuple[int, int, int]) -> CostEstimate:
    """Energy per image on hardware made for the family: layers of 8 bits multiply bytes, shift layers shift."""
    cost = estimate_cost(model, image_shape)
    if family != "int8":
        return cost
    quantized = {name for name, layer in model.named_modules() if isinstance(layer, Int8Layer)}
    as_int8 = {layer.name: layer for layer in cost.twin("int8").layers}
    layers = tuple(as_int8[layer.name] if layer.name in quantized else layer for layer in cost.layers)
    return replace(cost, layers=layers)


class Int8Layer(nn.Module):
    """Quantisation-aware training in 8 bits: weights and inputs rounded in forward, gradients straight through.

    Weights are symmetric, one scale an output channel; inputs affine, one running range a layer (Jacob et al.,
    arXiv 1712.05877).

    Attributes:
        low, high: running range of the inputs, zero always in it.
    """

    low: Tensor
    high: Tensor
    weight: Tensor

    @classmethod
    def from_float(cls, layer: nn.Module) -> Self:
        """A layer with the parameters and hooks of `layer`."""
        quantized = cls.__new__(cls)
        quantized.__dict__ = {k: v.copy() if isinstance(v, dict) else v for k, v in vars(layer).items()}
        quantized.register_buffer("low", torch.zeros(()))
        quantized.register_buffer("high", torch.zeros(()))
        return quantized

    def rounded_input(self, x: Tensor) -> Tensor:
        """`x` on the 256 levels of the range that training has seen."""
        if self.training:
            self._see(x.detach())
        step = ((self.high - self.low) / _INPUT_MAX).clamp_min(torch.finfo(torch.float32).eps)
        zero_point = (-self.low / step).round().clamp(0, _INPUT_MAX).to(torch.int32)
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(x.float(), step, zero_point, 0, _INPUT_MAX)
        return rounded

    def rounded_weight(self) -> Tensor:
        """The weight on 255 levels of each output channel's own scale."""
        steps = self.weight.detach().flatten(1).abs().amax(1) / _WEIGHT_MAX
        steps = steps.clamp_min(torch.finfo(torch.float32).eps)
        zeros = torch.zeros_like(steps, dtype=torch.int32)
        rounded: Tensor = torch.fake_quantize_per_channel_affine(
            self.weight, steps, zeros, 0, -_WEIGHT_MAX, _WEIGHT_MAX
        )
        return rounded

    def _see(self, x: Tensor) -> None:
        low, high = (v.float() for v in torch.aminmax(x))
        share = torch.where(self.high == self.low, 1.0, _RANGE_MOMENTUM)
        self.low.lerp_(low.clamp_max(0), share)
        self.high.lerp_(high.clamp_min(0), share)


class Int8Conv2d(Int8Layer, nn.Conv2d):
    """A 2-d convolution trained for 8 bits. Shapes of `nn.Conv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self._conv_forward(self.rounded_input(input), self.rounded_weight(), self.bias)
        return output


class Int8Linear(Int8Layer, nn.Linear):
    """A linear layer trained for 8 bits. Shapes of `nn.Linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(self.rounded_input(input), self.rounded_weight(), self.bias)


_INT8: dict[type[nn.Module], Any] = {nn.Conv2d: Int8Conv2d, nn.Linear: Int8Linear}


def _quantize(model: nn.Module, name: str) -> None:
    """Puts the 8-bit layer in the place of the layer `name`, unless it is one."""
    layer = model.get_submodule(name)
    if isinstance(layer, Int8Layer):
        return
    if type(layer) not in _INT8:
        kind = type(layer).__name__
        raise ConfigurationError(f"family int8 knows 2-d convolutions and linear layers, {name} is {kind}")
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, _INT8[type(layer)].from_float(layer))
