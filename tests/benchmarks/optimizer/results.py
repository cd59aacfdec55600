"""Runs as JSON lines, one file an optimizer: appended one by one, so that what is there is never run again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from tests.benchmarks.optimizer.searcher import OF_OUR_CODE
from tests.benchmarks.optimizer.simulate import Trace

_ROOT = Path(__file__).parents[3]
COMMITTED = Path(__file__).parent / "results"
UNTRACKED = _ROOT / "runs" / "bench-optimizer"
# Seeds from here on are for development: no report is made of them, and they are not committed.
FIRST_DEVELOPMENT_SEED = 100
# Hypervolumes are kept whenever so much more was spent.
STEP = 5


@dataclass(frozen=True)
class Run:
    """One search."""

    problem: str
    optimizer: str
    workers: int
    seed: int
    budget: int


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        hypervolume: shares of the best once 5, 10, 15, ... were spent, up to the budget.
        ask_ms, tell_ms: mean milliseconds of processor time of a call; None is not measured.
        slowest_ask_ms: the longest of all.
        code: which code of ours it was, or nothing.
    """

    hypervolume: tuple[float, ...]
    n_trials: int
    n_full: int
    idle_share: float
    ask_ms: float | None
    slowest_ask_ms: float | None
    tell_ms: float | None
    code: str = ""

    def at(self, spent: int) -> float:
        """The hypervolume once `spent`, a multiple of five, was spent."""
        return self.hypervolume[spent // STEP - 1]


def outcome_of(trace: Trace, run: Run) -> Outcome:
    """What is kept of a trace."""
    grid = range(STEP, run.budget + 1, STEP)
    return Outcome(
        hypervolume=tuple(round(trace.at(spent), 5) for spent in grid),
        n_trials=trace.n_trials,
        n_full=trace.n_full,
        idle_share=round(trace.idle_share, 4),
        ask_ms=_mean_ms(trace.ask_seconds),
        slowest_ask_ms=round(1e3 * max(trace.ask_seconds), 1) if trace.ask_seconds else None,
        tell_ms=_mean_ms(trace.tell_seconds),
        code=code_of(run.optimizer),
    )


def _mean_ms(seconds: list[float]) -> float | None:
    return round(1e3 * statistics.mean(seconds), 3) if seconds else None


def code_of(optimizer: str) -> str:
    """A fingerprint of the project's optimizer, whose runs count for the code that made them only; of others ""."""
    if optimizer not in OF_OUR_CODE:
        return ""
    digest = sha256()
    for path in sorted((_ROOT / "service" / "optimizer").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def path_of(run: Run, committed: Path = COMMITTED, untracked: Path = UNTRACKED) -> Path:
    """Where a run is kept: peers in the repository, ours and whatever is for development beside it."""
    is_tracked = run.optimizer not in OF_OUR_CODE and run.seed < FIRST_DEVELOPMENT_SEED
    return (committed if is_tracked else untracked) / f"{run.optimizer}.jsonl"


def read(path: Path) -> Iterator[tuple[Run, Outcome]]:
    """The runs of a file that the code of today would make; a line that an interruption left half is left out."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        run = Run(**row["run"])
        outcome = Outcome(**row["outcome"] | {"hypervolume": tuple(row["outcome"]["hypervolume"])})
        if outcome.code == code_of(run.optimizer):
            yield run, outcome


def append(path: Path, run: Run, outcome: Outcome) -> None:
    """Adds one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a") as file:
        file.write(("\n" if half else "") + json.dumps({"run": asdict(run), "outcome": asdict(outcome)}) + "\n")
