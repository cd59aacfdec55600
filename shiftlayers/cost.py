"""Energy of one inference on shift-and-add hardware, from operation counts and published energies per operation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from shiftlayers.config import ShiftConfig
from shiftlayers.modules import ShiftLayer
from shiftlayers.tracing import LayerTrace, fan_in, trace

Arithmetic = Literal["shift", "shift-float", "fp32", "int8"]
_PICO = 1e-12
_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_NORMALISED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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
        macs: products of one weight and one input.
        n_terms: powers of two in one weight: each is a shift and an add of its own. 1 where the layer multiplies.
        n_weights: weights and biases read.
        n_activations: values read and written.
        weight_bits: of one stored weight.
        activation_bits: of one value that is read or written.
        technology: energies of one operation each.
    """

    name: str
    arithmetic: Arithmetic
    macs: int
    n_terms: int
    n_weights: int
    n_activations: int
    weight_bits: int
    activation_bits: int
    technology: Technology

    @property
    def compute_joules(self) -> float:
        """Joules of the arithmetic, `macs * n_terms * (shift or multiply + add)`; integer adds are 32 bits wide."""
        tech = self.technology
        integer_add = _energy(tech.add, ACCUMULATOR_BITS)
        per_mac = {
            "shift": _energy(tech.shift, self.activation_bits) + integer_add,
            "shift-float": _energy(tech.shift, 32) + tech.add_fp32,
            "fp32": tech.multiply_fp32 + tech.add_fp32,
            "int8": _energy(tech.multiply, 8) + integer_add,
        }[self.arithmetic]
        return self.macs * self.n_terms * per_mac * _PICO

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
            replace(layer, arithmetic=arithmetic, n_terms=1, weight_bits=bits, activation_bits=bits)
            for layer in self.layers
        )
        return replace(self, layers=layers)


def estimate_cost(model: nn.Module, input_size: tuple[int, ...], technology: str = "45nm") -> CostEstimate:
    """Energy per image of `model`, from the operations that one forward pass really runs.

    Args:
        model: any network; its shift layers are charged shifts, its other layers float multiplications. What is
            computed without calling a layer, as the projections of attention are, is not counted.
        input_size: shape of one image without the batch, such as (3, 32, 32).
        technology: a key of `TECHNOLOGIES`.

    Raises:
        ValueError: unknown technology.
    """
    if technology not in TECHNOLOGIES:
        raise ValueError(f"technology must be one of {sorted(TECHNOLOGIES)}, got {technology!r}")
    tech = TECHNOLOGIES[technology]
    device = next(model.parameters()).device
    traces = trace(model, torch.zeros(1, *input_size, device=device))
    layers = tuple(_layer_cost(t, tech) for t in traces if isinstance(t.module, _COUNTED))
    n_normalised = sum(t.n_outputs for t in traces if isinstance(t.module, _NORMALISED))
    return CostEstimate(layers, n_normalised * (tech.multiply_fp32 + tech.add_fp32) * _PICO)


def n_terms(config: ShiftConfig) -> int:
    """Powers of two in a weight: two of APoT's above 2 bits, else one.

    Args:
        config: of the layer.
    """
    return 2 if config.quantizer == "apot" and config.weight_bits > 2 else 1


def _layer_cost(traced: LayerTrace, technology: Technology) -> LayerCost:
    arithmetic, weight_bits, activation_bits, terms = _number_formats(traced.module)
    return LayerCost(
        name=traced.name,
        arithmetic=arithmetic,
        macs=traced.macs,
        n_terms=terms,
        n_weights=_n_weights(traced.module),
        n_activations=traced.n_inputs + traced.n_outputs,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        technology=technology,
    )


def _n_weights(layer: nn.Module) -> int:
    """Weights and biases of a layer, each counted once however many latents stand behind it."""
    assert isinstance(layer, _COUNTED)
    n_out = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    n_sums = layer.in_channels if isinstance(layer, nn.ConvTranspose2d) else n_out
    per_sum = fan_in(layer)
    if isinstance(layer, nn.ConvTranspose2d):
        per_sum = n_out // layer.groups * math.prod(layer.kernel_size)
    return n_sums * per_sum + (n_out if layer.bias is not None else 0)


def _number_formats(layer: nn.Module) -> tuple[Arithmetic, int, int, int]:
    """Arithmetic, bits of a weight, bits of an activation and powers of two in a weight of one layer."""
    if not isinstance(layer, ShiftLayer):
        return "fp32", 32, 32, 1
    bits = layer.config.activation_bits
    if bits is None:
        return "shift-float", layer.config.weight_bits, 32, n_terms(layer.config)
    return "shift", layer.config.weight_bits, sum(bits), n_terms(layer.config)


def _energy(points: Mapping[int, float], bits: int) -> float:
    """Picojoules at `bits`, on the straight line through the two nearest points in log-log scale."""
    widths = sorted(points)
    upper = next((i for i, w in enumerate(widths) if bits <= w), len(widths) - 1)
    low, high = widths[max(upper - 1, 0)], widths[max(upper, 1)]
    slope = math.log(points[high] / points[low]) / math.log(high / low)
    return points[low] * math.exp(slope * math.log(bits / low))
