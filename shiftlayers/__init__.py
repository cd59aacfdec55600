"""Deep shift networks in PyTorch: layers whose weights are zero or a signed power of two."""

from __future__ import annotations

from shiftlayers.batch_norm import (
    ShiftBatchNorm1d,
    ShiftBatchNorm2d,
    ShiftBatchNorm3d,
    convert_batch_norm,
)
from shiftlayers.config import ShiftConfig
from shiftlayers.convert import convert_to_shift, shiftable_layers
from shiftlayers.cost import CostEstimate, LayerCost, estimate_cost, n_terms
from shiftlayers.exact import LayerExactness, exactness_report
from shiftlayers.export_c import export_c
from shiftlayers.export_onnx import export_onnx
from shiftlayers.fixed_point import FixedPoint, round_to_fixed_point
from shiftlayers.fold import fold
from shiftlayers.fold_batch_norm import fold_batch_norm
from shiftlayers.int8 import Int8Conv, Int8Linear, to_int8
from shiftlayers.modules import (
    ShiftConv1d,
    ShiftConv2d,
    ShiftConv3d,
    ShiftConvTranspose2d,
    ShiftLayer,
    ShiftLinear,
)
from shiftlayers.pack import load_packed, save_packed
from shiftlayers.rounding import (
    compose_power_of_two,
    round_to_levels,
    round_to_power_of_two,
)
from shiftlayers.weights import LayerWeights, weights_report

__all__ = [
    "CostEstimate",
    "FixedPoint",
    "Int8Conv",
    "Int8Linear",
    "LayerCost",
    "LayerExactness",
    "LayerWeights",
    "ShiftBatchNorm1d",
    "ShiftBatchNorm2d",
    "ShiftBatchNorm3d",
    "ShiftConfig",
    "ShiftConv1d",
    "ShiftConv2d",
    "ShiftConv3d",
    "ShiftConvTranspose2d",
    "ShiftLayer",
    "ShiftLinear",
    "compose_power_of_two",
    "convert_batch_norm",
    "convert_to_shift",
    "estimate_cost",
    "exactness_report",
    "export_c",
    "export_onnx",
    "fold",
    "fold_batch_norm",
    "load_packed",
    "n_terms",
    "round_to_fixed_point",
    "round_to_levels",
    "round_to_power_of_two",
    "save_packed",
    "shiftable_layers",
    "to_int8",
    "weights_report",
]
