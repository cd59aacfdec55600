"""How accurate each quantiser is at 2 to 5 bits: small networks trained from scratch on Fashion-MNIST, three seeds.

The network is three 3x3 convolutions of stride 2 with 16, 32 and 32 channels, each followed by batch normalisation
and ReLU, then one linear layer. All four are shift layers with the defaults of `ShiftConfig` and float activations.
Adam trains it for 3 epochs with batches of 128, no weight decay, no augmentation and a one-cycle schedule.

Weights and latents (`weight`, `shift`, `sign`, `steps`, `sparse`) are one parameter group, biases and batch
normalisation another, whose peak learning rate is 0.01. A step of 0.01 is small for a weight, large for DenseShift's
latents and tiny for an exponent of DeepShift-PS: the peak learning rate of the first group is therefore chosen for each
quantiser and bits from one grid, the same for all, by one epoch with a seed of its own, judged on 5,000 images held
out of the training set. With it each of three further seeds is trained on the other 55,000 and tested once.

The images are read from GREENSHIFT_DATA_DIR, which may be the folder of Debian's package dataset-fashion-mnist.
Results are written after every run, and a second start goes on where the first one stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from shiftlayers import ShiftConfig, convert_to_shift
from shiftlayers.config import QUANTIZER_NAMES, QuantizerName
from worker.data import Split, join, load_dataset
from worker.train import evaluate

PLAIN = ("float", 32)
CHOICE_SEED = 1000
VECTOR_RATE = 0.01
EVALUATION_BATCH = 500
# Quantiser and weight bits; the plain network is ("float", 32).
Kind = tuple[str, int]


@dataclass(frozen=True)
class Study:
    """What is compared, and the recipe that all share; rates are peak learning rates of weights and latents."""

    dataset: str
    bits: tuple[int, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    choice_epochs: int
    epochs: int
    batch_size: int

    @property
    def kinds(self) -> list[Kind]:
        """Every quantiser at every number of bits, after the plain network."""
        return [PLAIN, *((quantizer, bits) for quantizer in QUANTIZER_NAMES for bits in self.bits)]


FULL = Study("fashion-mnist", (2, 3, 4, 5), (0, 1, 2), (0.003, 0.01, 0.03, 0.1, 0.3), 1, 3, 128)
QUICK = Study("digits", (4,), (0,), (0.01, 0.1), 4, 8, 64)


@dataclass(frozen=True)
class Run:
    """One training: of what, how, and the images that judge it."""

    quantizer: str
    weight_bits: int
    rate: float
    seed: int
    epochs: int
    judge: Literal["validation", "test"]

    @property
    def kind(self) -> Kind:
        return self.quantizer, self.weight_bits


@dataclass(frozen=True)
class Outcome:
    """Share of the judging images that a run classified rightly, 0..1, and the seconds that it took."""

    accuracy: float
    seconds: float


Results = dict[Run, Outcome]


def main() -> int:
    """Runs what is missing in the file of results and prints the table."""
    args = _arguments()
    study = QUICK if args.quick else FULL
    out: Path = args.out or Path("runs", "accuracy-quick.json" if args.quick else "accuracy.json")
    results = _read(out, study)
    try:
        for runs in (choices, finals):
            _carry_out(runs(study, results), study, results, out, args.processes)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on from {out}")
        return 130
    print(table(study, results))
    return 0


def choices(study: Study, _results: Results) -> list[Run]:
    """The runs that choose a rate for every kind of network."""
    pairs = [(kind, rate) for kind in study.kinds for rate in study.rates]
    return [Run(*kind, rate, CHOICE_SEED, study.choice_epochs, "validation") for kind, rate in pairs]


def finals(study: Study, results: Results) -> list[Run]:
    """The runs that are reported, given what `choices` found; of equal rates the smaller one."""
    best: dict[Kind, Run] = {}
    for run in choices(study, results):
        if run.kind not in best or results[run].accuracy > results[best[run.kind]].accuracy:
            best[run.kind] = run
    return [Run(*kind, best[kind].rate, seed, study.epochs, "test") for kind in study.kinds for seed in study.seeds]


def measure(run: Run, study: Study) -> Outcome:
    """Trains the network of `run` from its seed and judges it."""
    started = time.perf_counter()
    train, judges = splits(study.dataset)
    torch.manual_seed(run.seed)
    network = build_network(train)
    if run.kind != PLAIN:
        network = convert_to_shift(network, ShiftConfig(cast(QuantizerName, run.quantizer), run.weight_bits))
    fit(network, train, run, study.batch_size)
    error = evaluate(network, judges[run.judge], EVALUATION_BATCH)
    return Outcome(1 - error, time.perf_counter() - started)


def build_network(data: Split) -> nn.Module:
    """A freshly initialised network for images and labels like those of `data`."""
    layers: list[nn.Module] = []
    channels, size = data.images.shape[1], data.images.shape[2]
    for width in (16, 32, 32):
        conv = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        channels, size = width, (size + 1) // 2
    n_classes = int(data.labels.max()) + 1
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, n_classes))


def fit(network: nn.Module, data: Split, run: Run, batch_size: int) -> None:
    """Trains `network` in place; the last images of an epoch's order that fill no batch are left out."""
    vectors = [p for p in network.parameters() if p.dim() == 1]
    others = [p for p in network.parameters() if p.dim() > 1]
    optimizer = optim.Adam([{"params": others, "lr": run.rate}, {"params": vectors, "lr": VECTOR_RATE}])
    n_steps = run.epochs * (len(data) // batch_size)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, [run.rate, VECTOR_RATE], n_steps, cycle_momentum=False)
    network.train()
    for images, labels in _batches(data, run, batch_size):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        schedule.step()


def _batches(data: Split, run: Run, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(run.seed)
    for _ in range(run.epochs):
        order = torch.randperm(len(data), generator=generator)
        for chosen in order.split(batch_size)[: len(data) // batch_size]:
            yield data.batch(chosen), data.labels[chosen]


@lru_cache(maxsize=1)
def splits(dataset: str) -> tuple[Split, dict[str, Split]]:
    """The training images, and those that judge: a twelfth held out of training for validation, and the test images."""
    data = load_dataset(dataset)
    spare = data.validation
    n = (len(data.train) + len(spare)) // 12
    return join(data.train, spare.subset(slice(n, None))), {"validation": spare.subset(slice(n)), "test": data.test}


def table(study: Study, results: Results) -> str:
    """Test accuracy in percent as Markdown: mean ± sample standard deviation of the seeds, or - where there is none."""
    tested: dict[Kind, list[float]] = {}
    for run, outcome in results.items():
        if run.judge == "test":
            tested.setdefault(run.kind, []).append(100 * outcome.accuracy)
    lines = ["| quantiser | " + " | ".join(f"{bits} bits" for bits in study.bits) + " |"]
    lines.append("| --- |" + " ---: |" * len(study.bits))
    for q in QUANTIZER_NAMES:
        lines.append(f"| {q} | " + " | ".join(_cell(tested.get((q, bits))) for bits in study.bits) + " |")
    lines += ["", f"The same network with float weights: {_cell(tested.get(PLAIN))}"]
    return "\n".join(lines)


def _cell(percents: list[float] | None) -> str:
    if not percents:
        return "-"
    mean = f"{statistics.mean(percents):.2f}"
    return mean if len(percents) == 1 else f"{mean} ± {statistics.stdev(percents):.2f}"


def _carry_out(runs: list[Run], study: Study, results: Results, out: Path, n_processes: int) -> None:
    """Adds what `runs` lack to `results` and to the file, with one line for each."""
    missing = [run for run in runs if run not in results]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, spawn, _start_process) as pool:
        outcomes = pool.map(partial(measure, study=study), missing)
        for n, (run, outcome) in enumerate(zip(missing, outcomes, strict=True), len(runs) - len(missing) + 1):
            results[run] = outcome
            _write(out, study, results)
            print(f"[{n}/{len(runs)}] {run.quantizer}, {run.weight_bits} bits, rate {run.rate}, seed {run.seed}: "
                  f"{run.judge} {100 * outcome.accuracy:.2f} %, {outcome.seconds:.1f} s", flush=True)  # fmt: skip


def _start_process() -> None:
    """One thread, so that a seed always gives the same numbers; Ctrl-C ends this process without a traceback."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _read(path: Path, study: Study) -> Results:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text())
    if content["study"] != json.loads(json.dumps(asdict(study))):
        raise SystemExit(f"{path} holds results of another study; pass --out FILE or remove it")
    return {Run(**row["run"]): Outcome(row["accuracy"], row["seconds"]) for row in content["results"]}


def _write(path: Path, study: Study, results: Results) -> None:
    """Replaces the file as a whole, so that no interruption leaves half of one."""
    rows = [{"run": asdict(run), **asdict(outcome)} for run, outcome in results.items()]
    content = {"study": asdict(study), "torch": torch.__version__, "results": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="results as JSON; runs/accuracy.json if not given")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="runs at the same time, each one thread")
    parser.add_argument("--quick", action="store_true",
                        help="digits, 4 bits, one seed: seconds; runs/accuracy-quick.json if not given")  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
