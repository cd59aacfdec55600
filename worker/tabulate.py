"""Makes the table of deployment energies of a network: one estimate of the plain network holds them all."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import get_args

from torch import nn

from shiftlayers import LayerCost, ShiftConfig, estimate_cost, n_terms, shiftable_layers
from worker.deployment import DeploymentTable
from worker.families import quantizable_layers
from worker.models import example_input
from worker.schema import QuantizerName

_WEIGHT_BITS = range(2, 9)
_ACTIVATION_BITS = range(1, 65)


def deployment_table(model: nn.Module, image_shape: tuple[int, int, int]) -> DeploymentTable:
    """The table of `model`, none of whose layers is converted.

    Args:
        model: as `build_network` makes it.
        image_shape: (channels, height, width).
    """
    cost = estimate_cost(model, image_shape)
    layers = {layer.name: layer for layer in cost.layers}
    example = example_input(image_shape)
    converted = [layers[name] for name in reversed(shiftable_layers(model, example))]
    quantized = [layers[name] for name in reversed(quantizable_layers(model, example))]
    as_int8 = {layer.name: layer for layer in cost.twin("int8").layers}
    return DeploymentTable(
        rest_joules=_falling(cost.total_joules, [_joules(layer) for layer in converted]),
        macs=_rising([layer.macs for layer in converted]),
        n_weights=_rising([layer.n_weights for layer in converted]),
        n_activations=_rising([layer.n_activations for layer in converted]),
        int8_joules=_falling(cost.total_joules, [_joules(layer) - _joules(as_int8[layer.name]) for layer in quantized]),
        n_terms={
            name: tuple(n_terms(ShiftConfig(name, weight_bits=bits)) for bits in _WEIGHT_BITS)
            for name in get_args(QuantizerName)
        },
        joules_per_term=tuple(_per_term(cost.layers[0], bits) for bits in _ACTIVATION_BITS),
        joules_per_bit=_per_bit(cost.layers[0]),
    )


def _joules(layer: LayerCost) -> float:
    return layer.compute_joules + layer.memory_joules


def _per_term(layer: LayerCost, bits: int) -> float:
    return replace(layer, arithmetic="shift", macs=1, n_terms=1, activation_bits=bits).compute_joules


def _per_bit(layer: LayerCost) -> float:
    return replace(layer, n_weights=1, weight_bits=1, n_activations=0).memory_joules


def _rising(counts: list[int]) -> tuple[int, ...]:
    return tuple(accumulate(counts, initial=0))


def _falling(whole: float, parts: list[float]) -> tuple[float, ...]:
    return tuple(accumulate(parts, lambda left, part: left - part, initial=whole))
