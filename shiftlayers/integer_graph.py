"""A shift network as operations on integers: what an integer-only program has to do, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.operator_schemas import normalize_function
from torch.fx.passes.shape_prop import ShapeProp

from shiftlayers.exact import lowest_bit
from shiftlayers.fold import evaluated_weight
from shiftlayers.graph import operation_name, trace_graph
from shiftlayers.modules import ShiftConv1d, ShiftConv2d, ShiftLayer, ShiftLinear

_MAX_SHIFT = 62


@dataclass(frozen=True)
class IntegerTensor:
    """Whole numbers that stand for multiples of a power of two.

    Attributes:
        name: of the node that made it.
        shape: of one image, without the batch.
        fraction: the numbers are multiples of 2**-fraction.
        bound: none is larger in magnitude.
    """

    name: str
    shape: tuple[int, ...]
    fraction: int
    bound: int

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Geometry:
    """Of a convolution or pooling over (channels, height, width); other shapes have heights and widths of 1."""

    channels: int
    height: int
    width: int
    out_channels: int
    out_height: int
    out_width: int
    kernel_size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Operation:
    """One step.

    Attributes:
        kind: `fixed_point`, `convolution`, `maximum`, `sum`, `relu` or `addition`.
        inputs: one tensor, or two of an addition.
        output: what it makes.
        geometry: of a convolution or pooling.
        terms: of a convolution, int64 (out_channels, weights of a sum, terms): 0, or sign * (exponent + 1).
        bias: of a convolution, int64 (out_channels,) on the grid of the output.
        limits: of a fixed point, smallest and largest number.
    """

    kind: str
    inputs: tuple[IntegerTensor, ...]
    output: IntegerTensor
    geometry: Geometry | None = None
    terms: Tensor | None = None
    bias: Tensor | None = None
    limits: tuple[int, int] | None = None


@dataclass(frozen=True)
class IntegerGraph:
    """The steps from an input to an output, and the largest number on the way."""

    input: IntegerTensor
    input_limits: tuple[int, int]
    operations: tuple[Operation, ...]
    output: IntegerTensor
    bound: int


def integer_graph(model: nn.Module, input_size: tuple[int, ...]) -> IntegerGraph:
    """The evaluation of `model` in whole numbers; no number is ever rounded but to the fixed point of a layer.

    Args:
        model: a network that `torch.fx` can trace, of shift layers with `activation_bits` (1-d and 2-d convolutions,
            padded with zeros, and linear layers), ReLU, max and average pooling over a power of two of values,
            flattening, dropout and sums of two tensors. Fold batch normalisation first (`fold_batch_norm`).
        input_size: shape of one image, without the batch.

    Raises:
        ValueError: an operation, by name, has no counterpart in whole numbers.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        graph = trace_graph(model)
        root = model if not isinstance(model, ShiftLayer) else nn.Sequential(model)
        with torch.no_grad():
            ShapeProp(fx.GraphModule(root, graph)).propagate(torch.zeros(1, *input_size))
        return _Builder(root, graph).build()
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Builder:
    """Walks a graph once and writes down what each node is in whole numbers."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self._model, self._graph = model, graph
        self._values: dict[fx.Node, IntegerTensor] = {}
        self._operations: list[Operation] = []
        self._input_limits = (0, 0)

    def build(self) -> IntegerGraph:
        inputs = [node for node in self._graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise ValueError(f"the network must have one input, has {len(inputs)}")
        for node in self._graph.nodes:
            if node.op == "output":
                return self._finish(inputs[0], node.args[0])
            if "tensor_meta" not in node.meta:
                # A size or another number that a reshaping was told.
                continue
            try:
                self._values[node] = self._value(node)
            except (ValueError, KeyError) as error:
                raise ValueError(f"{node.name!r} ({operation_name(node, self._model)}) has no counterpart in whole "
                                 f"numbers: {error}") from error  # fmt: skip
        raise ValueError("the network has no output")

    def _finish(self, source: fx.Node, result: Any) -> IntegerGraph:
        if result not in self._values:
            raise ValueError(f"the network must give one tensor, gives {result}")
        tensors = [*self._values.values(), *(operation.output for operation in self._operations)]
        bound = max(tensor.bound for tensor in tensors)
        given, last = self._values[source], self._values[result]
        return IntegerGraph(given, self._input_limits, tuple(self._operations), last, bound)

    def _value(self, node: fx.Node) -> IntegerTensor:
        if node.op == "placeholder":
            return self._input(node)
        rule = _RULES.get(operation_name(node, self._model))
        if rule is None:
            raise ValueError("unknown operation")
        return rule(self, node)

    def _input(self, node: fx.Node) -> IntegerTensor:
        """The input is on the grid of the first layer, which is what it is rounded to there in any case."""
        layers = [self._model.get_submodule(str(n.target)) for n in self._graph.nodes if n.op == "call_module"]
        first = next((layer for layer in layers if isinstance(layer, ShiftLayer)), None)
        if first is None or first.config.activation_bits is None:
            raise ValueError("the first shift layer must have activation_bits")
        self._input_limits = low, high = _limits(first)
        return IntegerTensor(node.name, _shape(node), first.config.activation_bits[1], max(-low, high))

    def _add(self, kind: str, inputs: tuple[IntegerTensor, ...], output: IntegerTensor, **parts: Any) -> IntegerTensor:
        self._operations.append(Operation(kind, inputs, output, **parts))
        return output

    def _given(self, node: fx.Node) -> IntegerTensor:
        return self._values[node.all_input_nodes[0]]

    def same(self, node: fx.Node) -> IntegerTensor:
        x = self._given(node)
        return IntegerTensor(x.name, _shape(node), x.fraction, x.bound)

    def dropout(self, node: fx.Node) -> IntegerTensor:
        if node.op != "call_module" and self._arguments(node).get("training", True):
            raise ValueError("it must be off in evaluation (training=self.training)")
        return self.same(node)

    def relu(self, node: fx.Node) -> IntegerTensor:
        x = self._given(node)
        return self._add("relu", (x,), IntegerTensor(node.name, x.shape, x.fraction, x.bound))

    def addition(self, node: fx.Node) -> IntegerTensor:
        if len(node.args) != 2 or node.kwargs or not all(isinstance(a, fx.Node) for a in node.args):
            raise ValueError("only two tensors can be added")
        a, b = (self._values[n] for n in node.args if isinstance(n, fx.Node))
        if a.shape != b.shape:
            raise ValueError(f"shapes must be equal, got {a.shape} and {b.shape}")
        fraction = max(a.fraction, b.fraction)
        bound = sum(t.bound << (fraction - t.fraction) for t in (a, b))
        return self._add("addition", (a, b), IntegerTensor(node.name, a.shape, fraction, bound))

    def layer(self, node: fx.Node) -> IntegerTensor:
        layer = self._model.get_submodule(str(node.target))
        assert isinstance(layer, ShiftConv1d | ShiftConv2d | ShiftLinear)
        bits = layer.config.activation_bits
        if bits is None or layer.config.compat is not None:
            raise ValueError("it needs activation_bits, and compat None")
        x = self._rounded(self._given(node), layer)
        weight = evaluated_weight(layer).cpu().double().flatten(1)
        # A bias is on the grid of the inputs, so that of the sums must not be coarser.
        grid = min(0, _lowest_exponent(weight)) if layer.bias is not None else _lowest_exponent(weight)
        whole = torch.ldexp(weight, torch.tensor(-grid))
        fraction = x.fraction - grid
        bias = layer._fixed_bias()
        bias = None if bias is None else torch.ldexp(bias.detach().cpu().double(), torch.tensor(fraction)).long()
        largest = whole.abs().sum(1) * x.bound + (0 if bias is None else bias.abs())
        output = IntegerTensor(node.name, _shape(node), fraction, int(largest.max().item()))
        parts = {"geometry": _layer_geometry(layer, x.shape, output.shape), "terms": _terms(whole), "bias": bias}
        return self._add("convolution", (x,), output, **parts)

    def _rounded(self, x: IntegerTensor, layer: ShiftLayer) -> IntegerTensor:
        assert layer.config.activation_bits is not None
        fraction, (low, high) = layer.config.activation_bits[1], _limits(layer)
        if x.fraction == fraction and x.bound <= min(-low, high):
            return x
        shift = fraction - x.fraction
        # An integer that a program shifts to the right must be wider than the shift.
        bound = max(-low, high, x.bound << max(shift, 0), 1 << max(-shift, 0))
        name = f"{x.name}_fixed_{len(self._operations)}"
        self._add("fixed_point", (x,), IntegerTensor(name, x.shape, fraction, bound), limits=(low, high))
        return IntegerTensor(name, x.shape, fraction, max(-low, high))

    def maximum(self, node: fx.Node) -> IntegerTensor:
        x, shape = self._given(node), _shape(node)
        given = self._arguments(node)
        if given.get("ceil_mode") or given.get("return_indices"):
            raise ValueError("ceil_mode and return_indices must be off")
        geometry = _pool_geometry(x.shape, shape, given)
        return self._add("maximum", (x,), IntegerTensor(node.name, shape, x.fraction, x.bound), geometry=geometry)

    def average(self, node: fx.Node) -> IntegerTensor:
        x, shape = self._given(node), _shape(node)
        given = self._arguments(node)
        padding = given.get("padding", 0)
        is_padded = bool(padding) if isinstance(padding, int) else any(padding)
        if given.get("ceil_mode") or given.get("divisor_override") or is_padded:
            raise ValueError("ceil_mode, divisor_override and padding must be off")
        if "output_size" in given:
            sizes = list(zip(_spatial(x.shape), _spatial(shape), strict=True))
            if any(n % m for n, m in sizes):
                raise ValueError(f"{_spatial(x.shape)} is no multiple of {_spatial(shape)}")
            given = {"kernel_size": tuple(n // m for n, m in sizes)}
        return self._sum(node, x, _pool_geometry(x.shape, shape, given))

    def mean(self, node: fx.Node) -> IntegerTensor:
        """Over all positions of each channel, as `x.mean((2, 3))` does."""
        x, shape = self._given(node), _shape(node)
        if shape[:1] != x.shape[:1] or math.prod(shape) != x.shape[0]:
            raise ValueError(f"it must be over all positions of each channel, makes {shape} of {x.shape}")
        geometry = Geometry(x.shape[0], *_spatial(x.shape), x.shape[0], 1, 1, kernel_size=_spatial(x.shape))
        return self._sum(node, x, geometry)

    def _sum(self, node: fx.Node, x: IntegerTensor, geometry: Geometry) -> IntegerTensor:
        """The sum of windows, whose average is the same numbers on a finer grid."""
        n = math.prod(geometry.kernel_size)
        if n & (n - 1):
            raise ValueError(f"an average over {n} values is no shift; a power of two would be")
        output = IntegerTensor(node.name, _shape(node), x.fraction + n.bit_length() - 1, x.bound * n)
        return self._add("sum", (x,), output, geometry=geometry)

    def _arguments(self, node: fx.Node) -> dict[str, Any]:
        """What a pooling was told, whether it is a module or a function."""
        if node.op == "call_module":
            return vars(self._model.get_submodule(str(node.target)))
        assert callable(node.target)
        normalized = normalize_function(node.target, node.args, dict(node.kwargs), normalize_to_only_use_kwargs=True)
        if normalized is None:
            raise ValueError("its arguments cannot be read")
        return normalized.kwargs


_Rule = Callable[[_Builder, fx.Node], IntegerTensor]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("ShiftConv1d", "ShiftConv2d", "ShiftLinear"), _Builder.layer),
    **dict.fromkeys(("ReLU", "relu", "relu_"), _Builder.relu),
    **dict.fromkeys(("MaxPool1d", "MaxPool2d", "max_pool1d", "max_pool2d"), _Builder.maximum),
    **dict.fromkeys(("AvgPool1d", "AvgPool2d", "avg_pool1d", "avg_pool2d"), _Builder.average),
    **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveAvgPool2d"), _Builder.average),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _Builder.average),
    "mean": _Builder.mean,
    **dict.fromkeys(("Flatten", "Identity"), _Builder.same),
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "dropout"), _Builder.dropout),
    **dict.fromkeys(("flatten", "view", "reshape", "contiguous"), _Builder.same),
    **dict.fromkeys(("add", "iadd"), _Builder.addition),
}


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape[1:])


def _spatial(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of (channels, height, width), (channels, width) or (channels,)."""
    height, width = (1, 1, *shape[1:])[-2:]
    return height, width


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (1, *value)[-2:]  # type: ignore[return-value]


def _limits(layer: ShiftLayer) -> tuple[int, int]:
    assert layer.config.activation_bits is not None
    n_bits = sum(layer.config.activation_bits)
    return (0, 2**n_bits - 1) if layer.config.unsigned_activations else (-(2 ** (n_bits - 1)), 2 ** (n_bits - 1) - 1)


def _lowest_exponent(weight: Tensor) -> int:
    """Of the smallest power of two that all weights are multiples of."""
    from_bits = lowest_bit(weight.abs())
    used = from_bits[from_bits > 0]
    return int(torch.log2(used.min()).item()) if len(used) else 0


def _terms(whole: Tensor) -> Tensor:
    """Each whole weight as one power of two, or where one is not enough as two."""
    low = lowest_bit(whole.abs())
    rest = whole.abs() - low
    terms = torch.stack([low, rest], -1) if rest.any() else low[..., None]
    exponents = torch.where(terms > 0, torch.log2(terms.clamp_min(1)) + 1, 0).long()
    if exponents.max() > _MAX_SHIFT + 1:
        raise ValueError(f"weights span 2^{int(exponents.max()) - 1}, shifts by at most {_MAX_SHIFT} are possible")
    return exponents * torch.sign(whole).long()[..., None]


def _layer_geometry(layer: nn.Module, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Geometry:
    if isinstance(layer, nn.Linear):
        if len(shape) != 1:
            raise ValueError(f"a linear layer takes one row of values, got the shape {shape}")
        return Geometry(shape[0], 1, 1, out_shape[0], 1, 1)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError("padding must be a number of zeros")
    is_2d = isinstance(layer, nn.Conv2d)
    return Geometry(
        *(shape[0], *_spatial(shape), out_shape[0], *_spatial(out_shape)),
        kernel_size=_pair(layer.kernel_size),
        stride=_pair(layer.stride),
        padding=_pair(layer.padding) if is_2d else (0, layer.padding[0]),
        dilation=_pair(layer.dilation),
        groups=layer.groups,
    )


def _pool_geometry(shape: tuple[int, ...], out_shape: tuple[int, ...], given: dict[str, Any]) -> Geometry:
    kernel = given["kernel_size"]
    is_2d = len(shape) == 3

    def pair(name: str, default: Any, first: int) -> tuple[int, int]:
        value = given.get(name)
        value = default if value is None or value == [] else value
        return _pair(value) if is_2d else (first, value if isinstance(value, int) else value[0])

    return Geometry(
        *(shape[0], *_spatial(shape), out_shape[0], *_spatial(out_shape)),
        kernel_size=pair("kernel_size", kernel, 1),
        stride=pair("stride", kernel, 1),
        padding=pair("padding", 0, 0),
        dilation=pair("dilation", 1, 1),
    )
