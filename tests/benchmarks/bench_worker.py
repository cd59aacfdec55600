"""What a worker's own work costs: the path of the data into a training step, isolation and the energy meter.

Ratios measured side by side: processor time on one thread, the order drawn anew in every round, the median of the
rounds' ratios and its quartiles. A second copy of our own path shows the noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from tests.benchmarks.bench_isolation import measure_stop, measure_trial_overhead
from tests.benchmarks.interleaved import interleaved
from tests.benchmarks.meter import measure_meter_overhead
from worker.data import Split
from worker.data.augment import augment

N_IMAGES = 2048
BATCH_SIZE = 128


def main() -> None:
    """Measures, prints and writes every section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-worker.json"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {name: section(options.rounds) for name, section in SECTIONS.items()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(), "threads": 1}
    options.out.write_text(json.dumps({"machine": machine, **results}, indent=2))
    print(f"written to {options.out}")


def data_path(n_rounds: int) -> dict[str, Any]:
    """Images a second from memory to a normalised batch: flipped, moved by up to four pixels, 32 x 32 pixels.

    Torchvision's side is what tutorials do: PIL images, RandomCrop with padding, RandomHorizontalFlip, ToTensor and
    Normalize in a DataLoader, without worker processes, because both sides are to use one core.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (N_IMAGES, 3, 32, 32), dtype=np.uint8)
    paths: dict[str, Callable[[], int]] = {
        "ours": _our_epoch(pixels),
        "ours again (noise)": _our_epoch(pixels),
        "torchvision": _torchvision_epoch(pixels),
    }
    seconds = interleaved(paths, n_rounds)
    rates = {name: [N_IMAGES / value for value in values] for name, values in seconds.items()}
    ratios = {name: [a / b for a, b in zip(rates["ours"], rates[name], strict=True)] for name in list(paths)[1:]}
    table = Table("", "images / s", "ours is faster by", "quartiles", title=f"Data path, batches of {BATCH_SIZE}")
    table.add_row("ours", f"{statistics.median(rates['ours']):,.0f}", "", "")
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        table.add_row(name, f"{statistics.median(rates[name]):,.0f}", f"{middle:.2f}", f"{low:.2f} .. {high:.2f}")
    Console().print(table)
    return {
        "images_per_second": {name: _summary(values) for name, values in rates.items()},
        "ratio": {name: _summary(values) for name, values in ratios.items()},
    }


# Name in the file -> section; each takes the number of rounds, prints a table and gives back figures for the file.
def isolation(n_rounds: int) -> dict[str, Any]:
    """Seconds around a trial's window in a process of its own and in this one, and until a stop takes effect."""
    seconds = measure_trial_overhead(n_rounds) | {"from a stop to the result": measure_stop()}
    _show_seconds("What isolation costs a trial", seconds)
    return seconds


def metering(_n_rounds: int) -> dict[str, Any]:
    """What the energy meter of this machine costs a trial."""
    overhead = asdict(measure_meter_overhead())
    source = overhead.pop("source")
    _show_seconds(f"What the meter costs a trial ({source}; shares are of one core)", overhead)
    return {"source": source, **overhead}


def _show_seconds(title: str, values: Mapping[str, float]) -> None:
    table = Table("", "", title=title)
    for name, value in values.items():
        table.add_row(name.replace("_", " "), f"{value:.4f}")
    Console().print(table)


SECTIONS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "data_path": data_path,
    "isolation": isolation,
    "metering": metering,
}


def _our_epoch(pixels: np.ndarray) -> Callable[[], int]:
    mean = torch.from_numpy(pixels.mean(axis=(0, 2, 3), dtype=np.float32)).reshape(3, 1, 1)
    deviation = torch.full((3, 1, 1), 73.9)
    split = Split(torch.from_numpy(pixels), torch.zeros(N_IMAGES, dtype=torch.int64), mean, deviation)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> int:
        n = 0
        for chosen in torch.randperm(N_IMAGES, generator=generator).split(BATCH_SIZE):
            images = augment(split.pick(chosen), ("flip", "translate"), generator)
            images, labels = split.normalise(images), split.labels[chosen]
            n += min(len(images), len(labels))
        return n

    return epoch


class _PillowImages(Dataset[tuple[torch.Tensor, int]]):
    """Arrays that become PIL images one by one, as torchvision's CIFAR10 does it."""

    def __init__(self, pixels: np.ndarray, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.pixels, self.transform = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), 0


def _torchvision_epoch(pixels: np.ndarray) -> Callable[[], int]:
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.29,) * 3),
        ]
    )
    loader = DataLoader(_PillowImages(pixels, transform), BATCH_SIZE, shuffle=True)
    return lambda: sum(len(images) for images, _ in loader)


def _summary(values: list[float]) -> dict[str, float]:
    return dict(zip(("low_quartile", "median", "high_quartile"), statistics.quantiles(values, n=4), strict=True))


if __name__ == "__main__":
    main()
