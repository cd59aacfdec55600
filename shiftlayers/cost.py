"""Energy of one inference on shift-and-add hardware, from operation counts and published energies per operation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from shiftlayers.convert import shiftable_layers
from shiftlayers.modules import ShiftConv2d, ShiftLinear
from shiftlayers.tracing import dry_run

Arithmetic = Literal["shift", "shift-float", "fp32", "int8"]
_PICO = 1e-12


@dataclass(frozen=True)
class Technology:
    """Energy per operation in picojoules, by operand bits, with the source of each figure.

    `multiply`, `add`, `shift` hold published points; widths between and beyond are interpolated along straight
    lines in the logarithms of bits and energy.
    """

    multiply: Mapping[int, float]
    add: Mapping[int, float]
    shift: Mapping[int, float]
    multiply_fp32: float
    add_fp32: float
    buffer_16_bits: float


TECHNOLOGIES: Mapping[str, Technology] = {
    # Multiply, add: Horowitz, ISSCC 2014. Shift: You et al., ShiftAddLLM, arXiv 2406.05981, table 1.
    # Buffer: one 16-bit word of the on-chip global buffer costs six register accesses of 3.7 pJ (the Eyeriss
    # hierarchy as used by ShiftAddViT, You et al., 2023).
    "45nm": Technology(
        multiply={8: 0.2, 16: 1.0, 32: 3.1},
        add={8: 0.03, 16: 0.05, 32: 0.1},
        shift={8: 0.024, 16: 0.057, 32: 0.13},
        multiply_fp32=3.7,
        add_fp32=0.9,
        buffer_16_bits=22.2,
    )
}
ACCUMULATOR_BITS = 32


@dataclass(frozen=True)
class LayerCost:
    """Counts and energy of one layer for one image.

    Attributes:
        name: of the layer in the network.
        arithmetic: `shift` (fixed-point inputs), `shift-float` (float inputs), `fp32` or `int8`.
        macs: multiply-accumulates, or shift-accumulates where the layer is a shift layer.
        n_weights: weights and biases read.
        n_activations: values read and written.
        weight_bits: of one stored weight.
        activation_bits: of one value that is read or written.
    """

    name: str
    arithmetic: Arithmetic
    macs: int
    n_weights: int
    n_activations: int
    weight_bits: int
    activation_bits: int
    technology: Technology

    @property
    def compute_joules(self) -> float:
        """Joules of the arithmetic, `macs * (shift or multiply + add)`; integer adds are 32 bits wide."""
        tech = self.technology
        integer_add = _energy(tech.add, ACCUMULATOR_BITS)
        per_mac = {
            "shift": _energy(tech.shift, self.activation_bits) + integer_add,
            "shift-float": _energy(tech.shift, 32) + tech.add_fp32,
            "fp32": tech.multiply_fp32 + tech.add_fp32,
            "int8": _energy(tech.multiply, 8) + integer_add,
        }[self.arithmetic]
        return self.macs * per_mac * _PICO

    @property
    def memory_joules(self) -> float:
        """Joules of reading weights and inputs and writing outputs once, all in the on-chip buffer."""
        bits = self.n_weights * self.weight_bits + self.n_activations * self.activation_bits
        return bits / 16 * self.technology.buffer_16_bits * _PICO


@dataclass(frozen=True)
class CostEstimate:
    """Estimated energy per image of a whole network, layer by layer. Always an estimate, never a measurement.

    Attributes:
        layers: the convolution and linear layers in the order in which they run.
        batch_norm_joules: float scale and add of every normalised value; zero where it would be folded.
    """

    layers: tuple[LayerCost, ...]
    batch_norm_joules: float

    @property
    def compute_joules(self) -> float:
        """Joules per image of all convolution and linear layers, without batch normalisation."""
        return sum(layer.compute_joules for layer in self.layers)

    @property
    def memory_joules(self) -> float:
        """Joules per image of moving weights and activations through the on-chip buffer."""
        return sum(layer.memory_joules for layer in self.layers)

    @property
    def total_joules(self) -> float:
        """Joules per image: compute, memory and batch normalisation."""
        return self.compute_joules + self.memory_joules + self.batch_norm_joules

    def twin(self, arithmetic: Literal["fp32", "int8"]) -> CostEstimate:
        """The cost of the same network with ordinary multiplications in 32-bit float or 8-bit integers."""
        bits = {"fp32": 32, "int8": 8}[arithmetic]
        layers = tuple(
            replace(layer, arithmetic=arithmetic, weight_bits=bits, activation_bits=bits) for layer in self.layers
        )
        return replace(self, layers=layers)


def estimate_cost(model: nn.Module, input_size: tuple[int, ...], technology: str = "45nm") -> CostEstimate:
    """Energy per image of `model`, from the operations that one forward pass really runs.

    Args:
        model: any network; its shift layers are charged shifts, its other layers float multiplications.
        input_size: shape of one image without the batch, such as (3, 32, 32).
        technology: a key of `TECHNOLOGIES`.

    Raises:
        ValueError: unknown technology.
    """
    if technology not in TECHNOLOGIES:
        raise ValueError(f"technology must be one of {sorted(TECHNOLOGIES)}, got {technology!r}")
    tech = TECHNOLOGIES[technology]
    device = next(model.parameters()).device
    example = torch.zeros(1, *input_size, device=device)
    shapes = _record_shapes(model, example)
    layers = tuple(
        _layer_cost(name, model.get_submodule(name), *shapes[name], tech) for name in shiftable_layers(model, example)
    )
    n_normalised = sum(
        out
        for name, (_, out) in shapes.items()
        if isinstance(model.get_submodule(name), nn.BatchNorm1d | nn.BatchNorm2d)
    )
    return CostEstimate(layers, n_normalised * (tech.multiply_fp32 + tech.add_fp32) * _PICO)


def _record_shapes(model: nn.Module, example: Tensor) -> dict[str, tuple[int, int]]:
    """Values read and written by each leaf module in one forward pass of one image, over all its calls."""
    counts: dict[str, tuple[int, int]] = {}

    def record(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        n_in, n_out = counts.get(name, (0, 0))
        counts[name] = n_in + args[0].numel(), n_out + output.numel()

    dry_run(model, example, record)
    return counts


def _layer_cost(name: str, layer: nn.Module, n_in: int, n_out: int, technology: Technology) -> LayerCost:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    fan_in, n_outputs = _fan_in(layer)
    arithmetic, weight_bits, activation_bits = _number_formats(layer)
    n_weights = fan_in * n_outputs + (n_outputs if layer.bias is not None else 0)
    return LayerCost(
        name=name,
        arithmetic=arithmetic,
        macs=n_out * fan_in,
        n_weights=n_weights,
        n_activations=n_in + n_out,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        technology=technology,
    )


def _fan_in(layer: nn.Conv2d | nn.Linear) -> tuple[int, int]:
    """Weights that one output value sums over, and output channels."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size), layer.out_channels
    return layer.in_features, layer.out_features


def _number_formats(layer: nn.Module) -> tuple[Arithmetic, int, int]:
    """Arithmetic, bits of a weight and bits of an activation of one layer."""
    if not isinstance(layer, ShiftConv2d | ShiftLinear):
        return "fp32", 32, 32
    bits = layer.config.activation_bits
    if bits is None:
        return "shift-float", layer.config.weight_bits, 32
    return "shift", layer.config.weight_bits, sum(bits)


def _energy(points: Mapping[int, float], bits: int) -> float:
    """Picojoules at `bits`, on the straight line through the two nearest points in log-log scale."""
    widths = sorted(points)
    upper = next((i for i, w in enumerate(widths) if bits <= w), len(widths) - 1)
    low, high = widths[max(upper - 1, 0)], widths[max(upper, 1)]
    slope = math.log(points[high] / points[low]) / math.log(high / low)
    return points[low] * math.exp(slope * math.log(bits / low))
