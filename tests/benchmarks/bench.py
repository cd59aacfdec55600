"""What the parts cost on this machine: ratios measured side by side, with two equal copies as the noise floor."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from service.optimizer import Optimizer
from service.schema import StudySpec, Trial, TrialState
from service.space import build_space
from service.store import Store
from shiftlayers import ShiftConfig, convert_to_shift
from worker.models import build_network
from worker.optimizers import make_optimizer
from worker.schema import Recipe
from worker.train import train_step

SHAPE = (3, 32, 32)
N_ROUNDS = 7


def main() -> None:
    """Prints every table."""
    torch.set_num_threads(1)
    training_step()
    asking()
    storing()


def training_step() -> None:
    """Processor time of one training step of ResNet-20, batch 64, as a multiple of plain layers."""
    steps = {
        "plain": _step(None),
        "plain again (noise)": _step(None),
        "deepshift-q, float activations": _step(ShiftConfig("deepshift-q")),
        "deepshift-ps, float activations": _step(ShiftConfig("deepshift-ps")),
        "deepshift-q, 8+8": _step(ShiftConfig("deepshift-q", activation_bits=(8, 8))),
        "deepshift-ps, 8+8": _step(ShiftConfig("deepshift-ps", activation_bits=(8, 8))),
    }
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(N_ROUNDS):
        seconds = {name: _processor_seconds(step) for name, step in steps.items()}
        for name, value in seconds.items():
            ratios[name].append(value / seconds["plain"])
    print("training step of ResNet-20 relative to plain layers, median [quartiles]")
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"  {name:34} {middle:.2f} [{low:.2f} {high:.2f}]")


def asking() -> None:
    """Seconds of ask and tell over a study of 200 trials."""
    spec = StudySpec.load("digits")
    for kind in ("greenshift", "smac-default", "random"):
        optimizer = Optimizer(
            build_space(spec, 10),
            objectives={"error": "minimize", "energy": "minimize"},
            fidelity=(1, 9),
            n_trials=200,
            n_workers=1,
            seed=0,
            optimizer=kind,
        )
        asks: list[float] = []
        tells: list[float] = []
        while True:
            started = time.perf_counter()
            suggestion = optimizer.ask()
            asks.append(time.perf_counter() - started)
            if suggestion is None:
                break
            bits = suggestion.config["activation_integer_bits"] + suggestion.config["activation_fraction_bits"]
            values = {"error": 1 / bits + suggestion.config["learning_rate"] / suggestion.fidelity, "energy": bits}
            started = time.perf_counter()
            optimizer.tell(suggestion, values)
            tells.append(time.perf_counter() - started)
        print(
            f"{kind}: ask mean {1e3 * statistics.mean(asks):.1f} ms, max {1e3 * max(asks):.0f} ms; "
            f"tell mean {1e3 * statistics.mean(tells):.1f} ms"
        )


def storing() -> None:
    """Trials recorded a second in a SQLite file."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.sqlite") as store:
        study = store.create_study(StudySpec.load("digits"))
        started = time.perf_counter()
        for number in range(200):
            trial = Trial(
                study_id=study.study_id,
                trial_id=f"{number:05d}",
                state=TrialState.WAITING,
                config=Recipe().model_dump(),
                fidelity=1.0,
                shift_depth=1,
                epochs=1,
                seed=0,
                is_full=True,
            )
            store.add_trial(trial)
            store.start_attempt(trial)
        print(f"store: {200 / (time.perf_counter() - started):.0f} trials added and started a second")


def _step(config: ShiftConfig | None) -> Callable[[], object]:
    torch.manual_seed(0)
    model: nn.Module = build_network("resnet20", SHAPE, 10)
    if config is not None:
        model = convert_to_shift(model, config, depth=20, example_input=torch.zeros(1, *SHAPE))
    recipe = Recipe(weight_decay=0.0, learning_rate=0.01)
    images, labels = torch.randn(64, *SHAPE), torch.randint(0, 10, (64,))
    optimizer = make_optimizer(model, recipe)
    return lambda: train_step(model, images, labels, optimizer, recipe)


def _processor_seconds(step: Callable[[], object]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


if __name__ == "__main__":
    main()
