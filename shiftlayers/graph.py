"""The graph of a network's operations, for what depends on which layer feeds which."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

from torch import fx, nn

from shiftlayers.modules import ShiftLayer

# By class name of modules and by name of functions and methods.
_NON_NEGATIVE = {
    "ReLU", "ReLU6", "Sigmoid", "Hardsigmoid", "Softplus", "Softmax",
    "relu", "relu_", "relu6", "sigmoid", "hardsigmoid", "softplus", "softmax", "exp", "square", "abs",
}  # fmt: skip
_ARITHMETIC = {"add", "iadd", "add_", "mul", "imul", "mul_"}
_POOLING = {
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool2d", "max_pool1d", "max_pool2d", "max_pool3d",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "mean", "sum",
}  # fmt: skip
_DROPOUTS = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "dropout"}
_RESHAPING = {
    "Flatten", "Unflatten", "Identity", "flatten", "view", "reshape", "contiguous", "permute", "transpose", "squeeze",
    "unsqueeze",
}  # fmt: skip
_SIGN_KEEPING = _ARITHMETIC | _POOLING | _DROPOUTS | _RESHAPING | {"cat"}
# Functions whose results lie in memory of their own; any other may give a view.
_FRESH = _NON_NEGATIVE | _ARITHMETIC | _POOLING | {
    "cat", "clone", "sub", "div", "truediv", "matmul", "linear", "conv1d", "conv2d", "conv3d", "batch_norm",
}  # fmt: skip
_IN_PLACE_OPERATORS = {
    "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul", "iand", "ior", "ixor", "ilshift",
    "irshift",
}  # fmt: skip
_SIZES = {"size", "dim", "numel", "len", "shape", "ndim", "dtype", "device"}


def _recorded(operation: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    """`operation`, such as `operator.iadd`, as a method that writes it down."""

    def method(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})

    return method


# PyTorch's own takes `x += y` for `x = x + y`, which is not the same where x has another name.
_Proxy = type("_Proxy", (fx.Proxy,), {f"__{n}__": _recorded(getattr(operator, n)) for n in _IN_PLACE_OPERATORS})


class _Tracer(fx.Tracer):
    """Sees every layer, ours and PyTorch's, as one operation, and `x += y` as one in place."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        proxy: fx.Proxy = _Proxy(node, self)
        return proxy

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_ours = type(m).__module__.startswith(f"{__package__}.")
        return is_ours or isinstance(m, ShiftLayer) or super().is_leaf_module(m, module_qualified_name)


def trace_graph(model: nn.Module) -> fx.Graph:
    """The operations of `model`, each layer one of them, in the order in which they run.

    Args:
        model: a network whose forward does the same whatever its input holds.

    Raises:
        ValueError: `torch.fx` cannot trace it.
    """
    # One layer alone would be taken apart.
    root = model if not isinstance(model, ShiftLayer) else nn.Sequential(model)
    try:
        return _Tracer().trace(root)
    except Exception as error:
        raise ValueError(f"torch.fx cannot trace the network: {type(error).__name__}: {error}") from error


def non_negative_inputs(graph: fx.Graph, model: nn.Module) -> set[str]:
    """Names of the layers whose input is a ReLU's output, or made of such by pooling, adding and the like.

    Args:
        graph: of `model`, by `trace_graph`.
        model: the network.
    """
    non_negative: set[fx.Node] = set()
    seen: dict[str, bool] = {}
    overwritten = dict(_overwritings(graph, model))
    for node in graph.nodes:
        name = operation_name(node, model)
        given = _data_inputs(node, name)
        is_fed = bool(given) and all(n in non_negative for n in given) and not _has_negative_factor(node)
        if node.op == "call_module":
            seen[node.target] = seen.get(node.target, True) and is_fed
        non_negative -= overwritten.get(node, set())
        if name in _NON_NEGATIVE or (name in _SIGN_KEEPING and is_fed):
            non_negative.add(node)
    return {name for name, fed in seen.items() if fed}


def require_unchanged(graph: fx.Graph, model: nn.Module) -> None:
    """Makes sure that every node of `graph` stands for one value from where it is made to its last use.

    Args:
        graph: of `model`, by `trace_graph`.
        model: the network.

    Raises:
        ValueError: an operation in place changes a tensor that is used again as what it was before.
    """
    position = {node: place for place, node in enumerate(graph.nodes)}
    for node, changed in _overwritings(graph, model):
        users = [user for old in changed for user in old.users if not _is_size(user)]
        later = next((user for user in users if position[user] > position[node]), None)
        if later is not None:
            raise ValueError(f"{label(node, model)} changes in place a tensor that {label(later, model)} uses again: "
                             "it must not work in place")  # fmt: skip


def operation_name(node: fx.Node, model: nn.Module) -> str:
    """The class of the module, or the name of the function or method, that a node calls; else the kind of node."""
    if node.op == "call_module":
        return type(model.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target)) if node.op.startswith("call") else node.op


def label(node: fx.Node, model: nn.Module) -> str:
    """What a person calls a node: the path of a module, parameter or buffer or else a name, and the operation."""
    name = str(node.target) if node.op in ("call_module", "get_attr") else node.name
    return f"{name!r} ({operation_name(node, model)})"


def first_input(node: fx.Node) -> fx.Node | None:
    """The node that an operation is about, as opposed to sizes and other operands; None without one."""
    first = node.args[0] if node.args else node.kwargs.get("input")
    return first if isinstance(first, fx.Node) else None


def _data_inputs(node: fx.Node, name: str) -> list[fx.Node]:
    """What the sign of the result depends on."""
    if node.op == "call_module" or name in _ARITHMETIC or name == "cat":
        return node.all_input_nodes
    first = first_input(node)
    return [] if first is None else [first]


def _overwritings(graph: fx.Graph, model: nn.Module) -> Iterator[tuple[fx.Node, set[fx.Node]]]:
    """Each operation in place, with the earlier nodes whose tensors may lie in the memory that it writes into."""
    memory: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        out = node.kwargs.get("out")
        source = out if isinstance(out, fx.Node) else first_input(node)
        is_in_place = source is not None and (source is out or _is_in_place(node, model))
        if source is not None and is_in_place:
            yield node, {old for old in memory if memory[old] is memory[source]}
        shares = source is not None and (is_in_place or _may_be_view(node, model))
        memory[node] = memory[source] if source is not None and shares else node


def _is_in_place(node: fx.Node, model: nn.Module) -> bool:
    name = operation_name(node, model)
    if name in _DROPOUTS:
        # Off in evaluation, and never changes a sign.
        return False
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    is_named_so = name.endswith("_") and not name.endswith("__")
    return bool(node.kwargs.get("inplace")) or is_named_so or name.strip("_") in _IN_PLACE_OPERATORS


def _may_be_view(node: fx.Node, model: nn.Module) -> bool:
    name = operation_name(node, model)
    if node.op == "call_module":
        return name in _RESHAPING | _DROPOUTS
    return node.op.startswith("call") and name not in _FRESH and not _is_size(node)


def _is_size(node: fx.Node) -> bool:
    """Whether a node asks a tensor for its shape or the like, not for its values."""
    target = node.args[1] if node.target is getattr else getattr(node.target, "__name__", node.target)
    return target in _SIZES


def _has_negative_factor(node: fx.Node) -> bool:
    """Whether a sum or product has a negative number in it."""
    if getattr(node.target, "__name__", node.target) not in _ARITHMETIC:
        return False
    return any(isinstance(v, int | float) and v < 0 for v in (*node.args, *node.kwargs.values()))
