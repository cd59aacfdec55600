"""What shift layers cost beside plain ones and beside DeepShift's published sequence of operations.

All of it is ratios measured side by side: processor time on one thread, the order drawn anew in every round, the median
of the rounds' ratios and its quartiles. A second copy of the plain network shows the noise. Counts have no noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn

from shiftlayers import ShiftConfig, ShiftLayer, convert_to_shift, fold, load_packed, save_packed, to_int8
from shiftlayers.fixed_point import round_to_fixed_point
from shiftlayers.swap import replace_layer
from tests.benchmarks.interleaved import interleaved
from tests.shiftlayers.kernels import KernelCounter
from tests.shiftlayers.reference import PublishedConv, PublishedLinear
from worker.models import build_network

SHAPE = (3, 32, 32)
BITS = 5
WIDE = (16, 16)
PLAIN = "plain"
Ratios = dict[str, list[float]]


def main() -> None:
    """Measures, prints and writes everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-shiftlayers.json"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {
        "training_step": _training_steps(options.rounds, options.batch_size),
        "counts": _counts(options.batch_size),
        "parts_of_a_plain_step": _parts(options.rounds, options.batch_size),
        "inference": _inference(options.rounds),
        "packed": _packed(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(), "threads": 1}
    options.out.write_text(json.dumps({"machine": machine, **results}, indent=2))
    print(f"written to {options.out}")


def _training_steps(n_rounds: int, batch_size: int) -> dict[str, Any]:
    steps = {name: _training_step(model, batch_size) for name, model in _networks().items()}
    seconds = interleaved(steps, n_rounds)
    to_plain = _ratios(seconds, PLAIN)
    _show(f"Training step of ResNet-20, batch {batch_size}, relative to plain layers", to_plain)
    to_reference: Ratios = {}
    for kind in ("q", "ps"):
        for name in (f"{kind}, float activations", f"{kind}, 16+16"):
            peers = zip(seconds[name], seconds[f"{kind} as published, 16+16"], strict=True)
            to_reference[name] = [ours / theirs for ours, theirs in peers]
    _show("The same relative to DeepShift's published sequence of operations", to_reference)
    return {"to_plain": _summary(to_plain), "to_reference": _summary(to_reference)}


def _networks() -> dict[str, nn.Module]:
    networks = {PLAIN: _resnet(), "plain again (noise)": _resnet()}
    for kind in ("q", "ps"):
        networks[f"{kind}, float activations"] = _resnet(kind, None)
        networks[f"{kind}, 8+8"] = _resnet(kind, (8, 8))
        networks[f"{kind}, 16+16"] = _resnet(kind, WIDE)
        networks[f"{kind} as published, 16+16"] = _published(_resnet(kind, None))
    return networks


def _resnet(kind: str | None = None, activation_bits: tuple[int, int] | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = build_network("resnet20", SHAPE, 10)
    if kind is None:
        return model
    config = ShiftConfig("deepshift-q" if kind == "q" else "deepshift-ps", BITS, activation_bits=activation_bits)
    return convert_to_shift(model, config)


def _published(model: nn.Module) -> nn.Module:
    """The shift network with every layer computing step by step as DeepShift's formulas stand."""
    model._forward_pre_hooks.clear()
    model._forward_hooks.clear()
    for layer in [m for m in model.modules() if isinstance(m, ShiftLayer)]:
        published = PublishedConv if isinstance(layer, nn.Conv2d) else PublishedLinear
        model = replace_layer(model, layer, published(layer, BITS, WIDE))
    return model


def _training_step(model: nn.Module, batch_size: int) -> Callable[[], object]:
    images, labels = torch.randn(batch_size, *SHAPE), torch.randint(0, 10, (batch_size,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def _counts(batch_size: int) -> dict[str, Any]:
    """Kernels launched, bytes moved and bytes kept for backward, of one training step."""
    counted = {name: _count(model, batch_size) for name, model in _networks().items() if "again" not in name}
    ratios = {name: {key: c[key] / counted[PLAIN][key] for key in c} for name, c in counted.items() if name != PLAIN}
    table = Table("relative to plain layers", *next(iter(ratios.values())), title="Counts of the same step, exact")
    for name, values in ratios.items():
        table.add_row(name, *(f"{value:.3f}" for value in values.values()))
    Console().print(table)
    return ratios


def _count(model: nn.Module, batch_size: int) -> dict[str, int]:
    images, labels = torch.randn(batch_size, *SHAPE), torch.randint(0, 10, (batch_size,))
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with KernelCounter() as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = F.cross_entropy(model(images), labels)
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        n_saved = sum(n for pointer, n in saved.items() if pointer not in parameters)
        loss.backward()
    return {"kernels": counter.n_kernels, "bytes moved": counter.n_bytes, "bytes kept": n_saved}


def _parts(n_rounds: int, batch_size: int) -> dict[str, Any]:
    """Rounding alone: all weights of the network, and all inputs of its layers."""
    n_weights = sum(p.numel() for p in _resnet().parameters() if p.dim() > 1)
    shapes: list[tuple[int, ...]] = []
    model = _resnet("q", None)
    for layer in model.modules():
        if isinstance(layer, ShiftLayer):
            layer.register_forward_pre_hook(lambda _layer, inputs: shapes.append(tuple(inputs[0].shape)))
    model.eval()(torch.zeros(batch_size, *SHAPE))
    activations = [torch.randn(shape) for shape in shapes]
    q = convert_to_shift(nn.Linear(1, n_weights, bias=False), ShiftConfig("deepshift-q", BITS))
    ps = convert_to_shift(nn.Linear(1, n_weights, bias=False), ShiftConfig("deepshift-ps", BITS))
    parts: dict[str, Callable[[], object]] = {
        PLAIN: _training_step(_resnet(), batch_size),
        "all weights, q": q.train().effective_weight,
        "all weights, ps": ps.train().effective_weight,
        "all activations, 8+8": lambda: [round_to_fixed_point(x, 8, 8) for x in activations],
        "all activations, 16+16": lambda: [round_to_fixed_point(x, *WIDE) for x in activations],
    }
    ratios = _ratios(interleaved(parts, n_rounds), PLAIN)
    del ratios[PLAIN]
    _show("Forward parts as a share of a plain training step", ratios, digits=4)
    return _summary(ratios)


def _inference(n_rounds: int) -> dict[str, Any]:
    images = torch.randn(32, *SHAPE)
    shift = convert_to_shift(_resnet(), ShiftConfig("deepshift-ps", 4, activation_bits=(4, 4))).eval()
    last = images.contiguous(memory_format=torch.channels_last)
    plain, folded, integer = _resnet().eval(), fold(shift).eval(), to_int8(shift)
    layout = _resnet().eval().to(memory_format=torch.channels_last)
    runs: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain(images),
        "plain again (noise)": lambda: plain(images),
        "plain, channels last": lambda: layout(last),
        "ps 4 bits, 4+4": lambda: shift(images),
        "ps 4 bits, 4+4, folded": lambda: folded(images),
        "ps 4 bits, 4+4, int8": lambda: integer(images),
    }
    with torch.no_grad():
        ratios = _ratios(interleaved(runs, 3 * n_rounds), PLAIN)
        assert torch.equal(integer(images), shift(images))
    _show("Inference of ResNet-20, batch 32, relative to plain layers", ratios)
    return _summary(ratios)


def _packed() -> dict[str, Any]:
    """Bytes of the shift weights' codes against float32, and seconds to load them."""
    results = {}
    table = Table("bits", "codes / fp32", "file / fp32 file", "load, ms", title="Packed ResNet-20")
    for bits in (2, 3, 4, 5):
        model = convert_to_shift(_resnet(), ShiftConfig("deepshift-ps", bits)).eval()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "packed.safetensors"
            save_packed(model, path)
            fresh = _resnet()
            started = time.process_time()
            load_packed(path, fresh)
            seconds = time.process_time() - started
            n_bytes = path.stat().st_size
        n_weights = sum(m.numel() for m in _resnet().parameters() if m.dim() > 1)
        n_all = sum(t.numel() * t.element_size() for t in _resnet().state_dict().values())
        codes = sum((m.shift.numel() * bits + 7) // 8 for m in model.modules() if isinstance(m, ShiftLayer))
        results[str(bits)] = {"codes": codes / (4 * n_weights), "file": n_bytes / n_all, "load_seconds": seconds}
        table.add_row(str(bits), f"{codes / (4 * n_weights):.3f}", f"{n_bytes / n_all:.3f}", f"{seconds * 1e3:.0f}")
    Console().print(table)
    return results


def _ratios(seconds: Mapping[str, list[float]], base: str) -> Ratios:
    return {name: [a / b for a, b in zip(values, seconds[base], strict=True)] for name, values in seconds.items()}


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def _summary(ratios: Ratios) -> dict[str, Any]:
    return {
        name: dict(zip(("low_quartile", "median", "high_quartile"), _quartiles(values), strict=True))
        for name, values in ratios.items()
    }


def _show(title: str, ratios: Ratios, digits: int = 3) -> None:
    table = Table("", "median", "quartiles", title=title)
    for name, values in ratios.items():
        low, middle, high = _quartiles(values)
        table.add_row(name, f"{middle:.{digits}f}", f"{low:.{digits}f} .. {high:.{digits}f}")
    Console().print(table)


if __name__ == "__main__":
    main()
