"""`make bench-optimizer`: runs ours, adds what is kept of the peers, prints tables and draws a plot."""

from __future__ import annotations

import argparse

from rich.console import Console

from tests.benchmarks.optimizer.plot import write_plot
from tests.benchmarks.optimizer.problems import EVERY_PROBLEM, PROBLEMS
from tests.benchmarks.optimizer.results import UNTRACKED, Run
from tests.benchmarks.optimizer.runner import Results, carry_out, known, start_process
from tests.benchmarks.optimizer.searcher import OURS, SEARCHERS
from tests.benchmarks.optimizer.tables import quality_table, time_table

# Of the peers that are kept; expensive ones have the smaller one.
_BUDGETS = (100, 200)


def main() -> int:
    """Runs what is missing, then prints what there is."""
    args = _arguments()
    start_process()
    runs = [
        Run(problem, optimizer, workers, seed, args.budget)
        for optimizer in args.only or [OURS]
        for seed in args.seeds
        for problem in args.problems
        for workers in args.workers
    ]
    try:
        results = carry_out(runs, args.processes)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
        return 130
    if not args.only:
        results = known(_peers(runs)) | results
    _print(results, args.problems, args.workers)
    picture = UNTRACKED / "optimizers.png"
    write_plot(picture, results, args.problems, args.workers)
    print(f"drawn in {picture}")
    return 0


def _peers(runs: list[Run]) -> list[Run]:
    """The runs of all others that may be kept, to compare `runs` with."""
    budgets = {run.budget for run in runs}.union(_BUDGETS)
    return [
        Run(run.problem, name, run.workers, run.seed, budget)
        for run in runs
        for name in SEARCHERS
        for budget in budgets
        if name != run.optimizer
    ]


def _print(results: Results, problems: list[str], n_workers: list[int]) -> None:
    console = Console(width=140)
    for problem in problems:
        for workers in n_workers:
            console.print(quality_table(results, problem, workers))
    console.print(time_table(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.optimizer", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SEARCHERS, metavar="NAME",
                        help=f"run and show these alone; {OURS}, beside all that is kept, if not given")  # fmt: skip
    parser.add_argument("--problems", nargs="+", choices=EVERY_PROBLEM, default=list(PROBLEMS), metavar="NAME")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 8, 64], metavar="N")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)), metavar="N",
                        help="0 to 9 are for reports, 100 and more for development")  # fmt: skip
    parser.add_argument("--budget", type=int, default=200, metavar="N", help="in evaluations at full fidelity")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="runs at the same time")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
