"""The graph of a network's operations, for what depends on which layer feeds which."""

from __future__ import annotations

from torch import fx, nn

from shiftlayers.modules import ShiftLayer

# By class name of modules and by name of functions and methods.
_NON_NEGATIVE = {
    "ReLU", "ReLU6", "Sigmoid", "Hardsigmoid", "Softplus", "Softmax",
    "relu", "relu_", "relu6", "sigmoid", "hardsigmoid", "softplus", "softmax", "exp", "square", "abs",
}  # fmt: skip
_ARITHMETIC = {"add", "iadd", "add_", "mul", "imul", "mul_"}
_SIGN_KEEPING = _ARITHMETIC | {
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool2d", "Flatten", "Dropout", "Dropout2d", "Identity",
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "flatten", "dropout", "cat", "mean", "sum", "view", "reshape",
    "contiguous", "permute", "transpose", "squeeze", "unsqueeze",
}  # fmt: skip


class _Tracer(fx.Tracer):
    """Sees every layer, ours and PyTorch's, as one operation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_ours = type(m).__module__.startswith(f"{__package__}.")
        return is_ours or super().is_leaf_module(m, module_qualified_name)


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
    for node in graph.nodes:
        given = node.all_input_nodes
        is_fed = bool(given) and all(n in non_negative for n in given) and not _has_negative_factor(node)
        if node.op == "call_module":
            seen[node.target] = seen.get(node.target, True) and is_fed
        name = operation_name(node, model)
        if name in _NON_NEGATIVE or (name in _SIGN_KEEPING and is_fed):
            non_negative.add(node)
    return {name for name, fed in seen.items() if fed}


def operation_name(node: fx.Node, model: nn.Module) -> str:
    """The class of the module, or the name of the function or method, that a node calls."""
    if node.op == "call_module":
        return type(model.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def _has_negative_factor(node: fx.Node) -> bool:
    """Whether a sum or product has a negative number in it."""
    if getattr(node.target, "__name__", node.target) not in _ARITHMETIC:
        return False
    return any(isinstance(v, int | float) and v < 0 for v in (*node.args, *node.kwargs.values()))
