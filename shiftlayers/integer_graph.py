"""A shift network as operations on integers: what an integer-only program has to do, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.operator_schemas import normalize_function

from shiftlayers.exact import lowest_bit
from shiftlayers.fold import evaluated_weight
from shiftlayers.graph import first_input, label, operation_name, require_unchanged, trace_graph
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
            flattening, dropout and sums of two tensors. Fold batch normalisation first (`fold_batch_norm`). What
            reads the input, be it through flattening, dropout, ReLU or max pooling, must be shift layers of one
            fixed-point format: on that grid is the input, which the caller rounds (ties to even) and cuts to
            `input_limits`, as these layers do.
        input_size: shape of one image, without the batch.

    Raises:
        ValueError: an operation, by name, has no counterpart in whole numbers or changes in place what is used again,
            the input goes to layers of several formats, or the network does not run on `input_size`.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        graph = trace_graph(model)
        root = model if not isinstance(model, ShiftLayer) else nn.Sequential(model)
        require_unchanged(graph, root)
        _Recorder(root, graph=graph).record(input_size)
        return _Builder(root, graph).build()
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Recorder(fx.Interpreter):
    """Runs a network on one image and keeps with each node the shape of its tensor, or its value if it is none."""

    def record(self, input_size: tuple[int, ...]) -> None:
        floats = (p for p in self.module.parameters() if p.is_floating_point())
        like = next(floats, torch.zeros(()))
        self.extra_traceback = False
        try:
            with torch.no_grad():
                self.run(torch.zeros(1, *input_size, dtype=like.dtype, device=like.device))
        except Exception as error:
            raise ValueError(f"the network does not run on one image of input_size {input_size}: "
                             f"{type(error).__name__}: {error}") from error  # fmt: skip

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        else:
            n.meta["value"] = result
        return result


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
        output = next(node for node in self._graph.nodes if node.op == "output")
        nodes = [node for node in self._graph.nodes if _is_step(node)]
        for node in nodes:
            with self._naming(node):
                self._rule(node)
        self._values[inputs[0]] = self._input(inputs[0])
        for node in nodes:
            with self._naming(node):
                self._values[node] = self._rule(node)(self, node)
        return self._finish(inputs[0], output.args[0])

    def _finish(self, source: fx.Node, result: Any) -> IntegerGraph:
        if not isinstance(result, fx.Node) or result not in self._values:
            raise ValueError(f"the network must give one tensor, gives {result}")
        tensors = [*self._values.values(), *(operation.output for operation in self._operations)]
        bound = max(tensor.bound for tensor in tensors)
        given, last = self._values[source], self._values[result]
        return IntegerGraph(given, self._input_limits, tuple(self._operations), last, bound)

    @contextmanager
    def _naming(self, node: fx.Node) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{label(node, self._model)} has no counterpart in whole numbers: {error}") from error

    def _rule(self, node: fx.Node) -> _Rule:
        if node.op == "get_attr":
            raise ValueError("parameters and buffers can be read by shift layers only")
        name = operation_name(node, self._model)
        if name not in _RULES:
            is_norm = "batchnorm" in name.lower().replace("_", "")
            raise ValueError("unknown operation" + ("; call fold_batch_norm first" if is_norm else ""))
        if "shape" not in node.meta:
            raise ValueError("it gives more than one tensor")
        if node.meta["shape"][:1] != (1,):
            raise ValueError(f"it makes the shape {node.meta['shape']} of a batch of one image")
        return _RULES[name]

    def _input(self, node: fx.Node) -> IntegerTensor:
        """The input is on the grid of the layers that read it, which round it to that in any case."""
        readers = dict.fromkeys(self._readers(node))
        formats = {self._format(reader) for reader in readers}
        if len(formats) != 1 or None in formats:
            found = ", ".join(f"{label(n, self._model)} with {self._format(n) or 'none'}" for n in readers)
            raise ValueError("what reads the input must be shift layers, and they must have activation_bits of one "
                             f"(integer bits, fraction bits, signed): got {found}")  # fmt: skip
        layer = self._model.get_submodule(str(next(iter(readers)).target))
        assert isinstance(layer, ShiftLayer) and layer.config.activation_bits is not None
        self._input_limits = low, high = _limits(layer)
        return IntegerTensor(node.name, _shape(node), layer.config.activation_bits[1], max(-low, high))

    def _readers(self, node: fx.Node) -> Iterator[fx.Node]:
        """What reads a tensor, past all that makes no difference to rounding it and cutting it to limits."""
        for user in node.users:
            if user.op != "output" and not _is_step(user):
                continue
            if operation_name(user, self._model) in _COMMUTING:
                yield from self._readers(user)
            else:
                yield user

    def _format(self, node: fx.Node) -> tuple[int, int, bool] | None:
        """Integer bits, fraction bits and whether they are signed, if the node is a layer that rounds to such."""
        layer = self._model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, ShiftLayer) or layer.config.activation_bits is None:
            return None
        return (*layer.config.activation_bits, not layer.config.unsigned_activations)

    def _add(self, kind: str, inputs: tuple[IntegerTensor, ...], output: IntegerTensor, **parts: Any) -> IntegerTensor:
        self._operations.append(Operation(kind, inputs, output, **parts))
        return output

    def _given(self, node: fx.Node) -> IntegerTensor:
        source = first_input(node)
        if source is None or source not in self._values:
            raise ValueError(f"its input {source} is no tensor")
        return self._values[source]

    def same(self, node: fx.Node) -> IntegerTensor:
        x = self._given(node)
        if math.prod(_shape(node)) != x.size:
            raise ValueError(f"it makes {_shape(node)} of {x.shape}")
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
        if not all(n in self._values for n in node.args):
            raise ValueError("only tensors can be added")
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
        geometry = _geometry(x.shape, shape, given, self._n_dims(node))
        return self._add("maximum", (x,), IntegerTensor(node.name, shape, x.fraction, x.bound), geometry=geometry)

    def average(self, node: fx.Node) -> IntegerTensor:
        x, shape = self._given(node), _shape(node)
        given = self._arguments(node)
        padding = given.get("padding", 0)
        is_padded = bool(padding) if isinstance(padding, int) else any(padding)
        if given.get("ceil_mode") or given.get("divisor_override") or is_padded:
            raise ValueError("ceil_mode, divisor_override and padding must be off")
        if "output_size" in given:
            sizes = list(zip(x.shape[1:], shape[1:], strict=True))
            if any(n % m for n, m in sizes):
                raise ValueError(f"{x.shape[1:]} is no multiple of {shape[1:]}")
            given = {"kernel_size": tuple(n // m for n, m in sizes)}
        return self._sum(node, x, _geometry(x.shape, shape, given, self._n_dims(node)))

    def mean(self, node: fx.Node) -> IntegerTensor:
        """Over all positions of each channel, as `x.mean((2, 3))` does."""
        x = self._given(node)
        if not set(node.kwargs) <= {"input", "dim", "axis", "keepdim"}:
            raise ValueError(f"it may be told dim and keepdim alone, got {node.kwargs}")
        dims = _resolved(node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis")))
        n_dims = 1 + len(x.shape)
        found = {dim % n_dims if isinstance(dim, int) else dim for dim in _tuple(dims)}
        if n_dims not in (3, 4) or found != set(range(2, n_dims)):
            raise ValueError(f"it must be over all positions of each channel, is over {dims} of {(1, *x.shape)}")
        whole = {"kernel_size": x.shape[1:]}
        return self._sum(node, x, _geometry(x.shape, x.shape[:1], whole, len(x.shape) - 1))

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
        if not callable(node.target):
            raise ValueError("it must be a function or a module")
        normalized = normalize_function(node.target, node.args, dict(node.kwargs), normalize_to_only_use_kwargs=True)
        if normalized is None:
            raise ValueError("its arguments cannot be read")
        return {key: _resolved(value) for key, value in normalized.kwargs.items()}

    def _n_dims(self, node: fx.Node) -> int:
        """1 over sequences, 2 over images."""
        return 2 if "2d" in operation_name(node, self._model) else 1


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


# Rounding and cutting to limits before these is the same as after them.
_COMMUTING = {
    name for name, rule in _RULES.items()
    if rule in (_Builder.same, _Builder.dropout, _Builder.relu, _Builder.maximum)
}  # fmt: skip


def _is_step(node: fx.Node) -> bool:
    """Whether a node makes tensors, and no size or another number that a reshaping is told."""
    value = node.meta.get("value")
    holds_tensors = isinstance(value, tuple | list) and any(isinstance(part, Tensor) for part in value)
    return node.op not in ("placeholder", "output") and ("shape" in node.meta or holds_tensors)


def _resolved(argument: Any) -> Any:
    """An argument with the sizes that the network computed for it."""
    return fx.node.map_arg(argument, lambda n: n.meta.get("value", n))


def _shape(node: fx.Node) -> tuple[int, ...]:
    shape: tuple[int, ...] = node.meta["shape"][1:]
    return shape


def _spatial(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of (channels, height, width), (channels, width) or (channels,)."""
    height, width = (1, 1, *shape[1:])[-2:]
    return height, width


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


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
    return _geometry(shape, out_shape, vars(layer), len(layer.kernel_size))


def _geometry(shape: tuple[int, ...], out_shape: tuple[int, ...], given: dict[str, Any], n_dims: int) -> Geometry:
    """Of windows that `given` describes as PyTorch does: one number counts in both directions."""
    if len(shape) != 1 + n_dims:
        raise ValueError(f"it takes channels and {n_dims} dimensions, got the shape {shape}")

    def pair(name: str, default: Any, of_sequence: int) -> tuple[int, int]:
        value = given.get(name)
        values = _tuple(default if value is None or value == [] else value)
        height, width = (of_sequence, values[0]) if n_dims == 1 else values * 2 if len(values) == 1 else values
        return height, width

    return Geometry(
        *(shape[0], *_spatial(shape), out_shape[0], *_spatial(out_shape)),
        kernel_size=pair("kernel_size", None, 1),
        stride=pair("stride", given["kernel_size"], 1),
        padding=pair("padding", 0, 0),
        dilation=pair("dilation", 1, 1),
        groups=given.get("groups", 1),
    )
