"""Trains every network of the digits table, about 11 minutes on one core; a second start goes on where it stopped.

Eight linear layers of 24 outputs, each with batch normalisation and ReLU, then one of ten: nine layers, the last 1, 3
or all 9 of which are shift layers. Learning rates stay constant, so that the error after each of nine epochs is what a
training of so many epochs comes to. One training for each config and depth, all from seed 0.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shiftlayers import convert_to_shift
from tests.benchmarks.optimizer.digits_configs import DEPTHS, N_EPOCHS, TABLE, configs
from worker.data import Dataset, load_dataset
from worker.errors import DivergedError
from worker.families import deployment_cost, shift_config
from worker.schema import Recipe
from worker.train import evaluate, train

_WIDTH = 24
# Error of a network whose training left the finite numbers: nine of ten digits.
_CHANCE = 0.9
_SAVE_EVERY = 50


def main() -> None:
    """Trains what is missing, a line for every 50 trainings, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=TABLE, metavar="FILE")
    parser.add_argument("--most", type=int, metavar="N", help="stop after so many trainings")
    args = parser.parse_args()
    torch.set_num_threads(1)
    columns = _read(args.out)
    missing = np.argwhere(np.isnan(columns["seconds"]))[: args.most]
    for n, (row, depth) in enumerate(missing, 1):
        outcome = measure(configs()[row], DEPTHS[depth])
        for name, value in outcome.items():
            columns[name][row, depth] = value
        if n % _SAVE_EVERY == 0 or n == len(missing):
            _write(args.out, columns)
            print(f"{n} of {len(missing)}", flush=True)


def measure(config: dict[str, Any], depth: int) -> dict[str, Any]:
    """The error after each epoch, joules per image when deployed, and seconds of one epoch."""
    data, recipe = load_dataset("digits"), Recipe(**config, schedule="constant")
    torch.manual_seed(0)
    example = torch.zeros(1, *data.image_shape)
    model = convert_to_shift(build_network(data), shift_config(recipe), depth, example_input=example)
    errors = np.full(N_EPOCHS, _CHANCE, dtype=np.float32)
    joules = deployment_cost(model, "shift", data.image_shape).total_joules
    started = time.perf_counter()

    def judge(epoch: int, _loss: float) -> None:
        errors[epoch - 1] = evaluate(model, data.validation, recipe.test_batch_size)
        model.train()

    with contextlib.suppress(DivergedError):
        train(model, data.train, recipe, N_EPOCHS, torch.Generator().manual_seed(0), on_epoch=judge)
    return {"error": errors, "joules": joules, "seconds": (time.perf_counter() - started) / N_EPOCHS}


def build_network(data: Dataset) -> nn.Module:
    """A freshly initialised network of nine layers for the images of `data`."""
    channels, height, width = data.image_shape
    layers: list[nn.Module] = [nn.Flatten()]
    n_inputs = channels * height * width
    for _ in range(DEPTHS[-1] - 1):
        layers += [nn.Linear(n_inputs, _WIDTH, bias=False), nn.BatchNorm1d(_WIDTH), nn.ReLU()]
        n_inputs = _WIDTH
    return nn.Sequential(*layers, nn.Linear(n_inputs, data.n_classes))


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    if path.exists():
        with np.load(path) as table:
            return {name: table[name] for name in table.files}
    shape = (len(configs()), len(DEPTHS))
    empty = {name: np.full(shape, np.nan, dtype=np.float32) for name in ("joules", "seconds")}
    return {"error": np.full((*shape, N_EPOCHS), np.nan, dtype=np.float32), **empty}


def _write(path: Path, columns: dict[str, NDArray[np.float32]]) -> None:
    """Replaces the file as a whole, so that no interruption leaves half of one."""
    new = path.with_name("new-" + path.name)
    np.savez_compressed(new, **columns)  # type: ignore[arg-type]
    new.replace(path)


if __name__ == "__main__":
    main()
