"""Shift networks as one C header that computes with integers, shifts and additions alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from torch import nn

from shiftlayers.integer_graph import Geometry, IntegerGraph, Operation, integer_graph

_MAX_INT32, _MAX_INT64 = 2**31 - 1, 2**63 - 1
_NAMES_OF_KERNELS = ("VALUE", "UNSIGNED", "GEOMETRY", "shift_left", "shift_right", "to_fixed_point", "convolution",
                     "pooling", "relu", "addition")  # fmt: skip


def export_c(model: nn.Module, path: str | Path, input_size: tuple[int, ...], name: str = "network") -> None:
    """Writes a C99 header whose function `<name>_infer` is the evaluation of `model` on one image.

    It needs no library but <stdint.h>, allocates nothing and computes what integer arithmetic does: where sums stay
    below 2^24 steps of their grid that is what `model` gives, bit for bit. The header says on which grids input and
    output are: an integer n stands for n * 2^-fraction. Input and output are in row-major order without a batch. The
    caller rounds the input to its grid, ties to even, and cuts it to INPUT_MIN..INPUT_MAX, as `model` does itself.

    Args:
        model: a network as `integer_graph` takes it; fold batch normalisation first.
        path: of the header.
        input_size: shape of one image, without the batch.
        name: of the function, and in capitals of the constants; a C identifier. Names of networks in one program
            must differ in more than case.

    Raises:
        ValueError: `name` is no identifier, `integer_graph` refuses the network or `input_size`, or a number may grow
            beyond 64 bits.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError(f"name must be a C identifier, got {name!r}")
    Path(path).write_text(_header(integer_graph(model, input_size), name))


def _header(graph: IntegerGraph, name: str) -> str:
    if graph.bound > _MAX_INT64:
        raise ValueError(f"numbers may grow to 2^{graph.bound.bit_length()}, more than 64 bits hold")
    value = "int32_t" if graph.bound <= _MAX_INT32 else "int64_t"
    places, n_scratch = _places(graph)
    constants = {
        "INPUT_SIZE": graph.input.size,
        "INPUT_FRACTION": graph.input.fraction,
        "INPUT_MIN": graph.input_limits[0],
        "INPUT_MAX": graph.input_limits[1],
        "OUTPUT_SIZE": graph.output.size,
        "OUTPUT_FRACTION": graph.output.fraction,
        "SCRATCH_SIZE": max(n_scratch, 1),
    }
    guard = f"{name}_H"
    return "\n".join([
        f"#ifndef {guard}", f"#define {guard}", "#include <stdint.h>", "",
        "/* Made by shiftlayers.export_c. An integer n of the input or output stands for n * 2^-FRACTION. The caller",
        f"   rounds the input, ties to even, and cuts it to {name.upper()}_INPUT_MIN..{name.upper()}_INPUT_MAX. */",
        *(f"#define {name.upper()}_{key} ({number})" for key, number in constants.items()),
        f"typedef {value} {name}_value;", "",
        _kernels(name, value),
        *_weights(graph, name), "",
        f"/* scratch holds {name.upper()}_SCRATCH_SIZE values; nothing overlaps. */",
        f"static inline void {name}_infer(const {name}_value *input, {name}_value *output, {name}_value *scratch) {{",
        "  (void)scratch;",
        *(f"  {line}" for line in _calls(graph, name, places)),
        "}", "", "#endif", "",
    ])  # fmt: skip


def _kernels(name: str, value: str) -> str:
    """The kernels under names of this network, so that one program can have several."""
    text = resources.files(__package__).joinpath("kernels.h").read_text()
    for kernel in _NAMES_OF_KERNELS:
        text = re.sub(rf"\b{kernel}\b", f"{name}_{kernel.lower()}", text)
    return f"typedef u{value} {name}_unsigned;\n{text}"


def _weights(graph: IntegerGraph, name: str) -> Iterable[str]:
    for number, operation in enumerate(graph.operations):
        if operation.terms is not None:
            yield _array(f"static const int8_t {name}_codes_{number}", operation.terms.reshape(-1).tolist())
        if operation.bias is not None:
            yield _array(f"static const {name}_value {name}_bias_{number}", operation.bias.tolist())


def _array(declaration: str, numbers: list[int]) -> str:
    lines = [", ".join(map(str, numbers[i : i + 24])) for i in range(0, len(numbers), 24)]
    return f"{declaration}[{len(numbers)}] = {{\n  " + ",\n  ".join(lines) + "};"


def _places(graph: IntegerGraph) -> tuple[dict[str, str], int]:
    """A C expression for each tensor, in scratch memory that is used again once its tensor is not needed any more."""
    places = {graph.input.name: "input"}
    uses = Counter(tensor.name for operation in graph.operations for tensor in operation.inputs)
    uses[graph.output.name] += 1
    taken: dict[str, tuple[int, int]] = {}
    size = 0
    for operation in graph.operations:
        tensor = operation.output
        start = _first_gap(sorted(taken.values()), tensor.size)
        taken[tensor.name] = start, start + tensor.size
        places[tensor.name] = f"scratch + {start}"
        size = max(size, start + tensor.size)
        for given in operation.inputs:
            uses[given.name] -= 1
            if not uses[given.name]:
                taken.pop(given.name, None)
    return places, size


def _first_gap(taken: list[tuple[int, int]], size: int) -> int:
    start = 0
    for low, high in taken:
        if low - start >= size:
            break
        start = max(start, high)
    return start


def _calls(graph: IntegerGraph, name: str, places: dict[str, str]) -> Iterable[str]:
    for number, operation in enumerate(graph.operations):
        if operation.geometry is not None:
            n_terms = 1 if operation.terms is None else operation.terms.shape[-1]
            yield f"static const {name}_geometry geometry_{number} = {_numbers(operation.geometry, n_terms)};"
        yield f"{name}_{_call(operation, number, name, places)};"
    result = places[graph.output.name]
    yield f"for (int i = 0; i < {graph.output.size}; i++) output[i] = ({result})[i];"


def _call(operation: Operation, number: int, name: str, places: dict[str, str]) -> str:
    x, y = operation.inputs[0], operation.output
    given = ", ".join(places[tensor.name] for tensor in (*operation.inputs, y))
    match operation.kind:
        case "fixed_point":
            assert operation.limits is not None
            low, high = operation.limits
            return f"to_fixed_point({given}, {y.size}, {y.fraction - x.fraction}, {low}, {high})"
        case "convolution":
            bias = f"{name}_bias_{number}" if operation.bias is not None else "0"
            return f"convolution({given}, {name}_codes_{number}, {bias}, &geometry_{number})"
        case "maximum" | "sum":
            return f"pooling({given}, &geometry_{number}, {int(operation.kind == 'sum')})"
        case "relu":
            return f"relu({given}, {y.size})"
        case _:
            shifts = ", ".join(str(y.fraction - tensor.fraction) for tensor in operation.inputs)
            return f"addition({given}, {y.size}, {shifts})"


def _numbers(g: Geometry, n_terms: int) -> str:
    pairs = (*g.kernel_size, *g.stride, *g.padding, *g.dilation)
    sizes = (g.channels, g.height, g.width, g.out_channels, g.out_height, g.out_width)
    return "{" + ", ".join(map(str, (*sizes, *pairs, g.groups, n_terms))) + "}"
