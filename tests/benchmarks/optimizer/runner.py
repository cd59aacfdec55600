"""Carries out the runs that no file holds yet, in one process or several."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.benchmarks.optimizer.problems import EVERY_PROBLEM
from tests.benchmarks.optimizer.results import Outcome, Run, append, outcome_of, path_of, read
from tests.benchmarks.optimizer.searcher import make_searcher
from tests.benchmarks.optimizer.simulate import simulate

Results = dict[Run, Outcome]


def measure(run: Run) -> Outcome:
    """One search from its seed."""
    problem = EVERY_PROBLEM[run.problem]
    searcher = make_searcher(run.optimizer, problem, run.workers, run.seed, run.budget)
    return outcome_of(simulate(problem, searcher, n_workers=run.workers, budget=run.budget), run)


def known(runs: Iterable[Run]) -> Results:
    """What the files hold of `runs`."""
    wanted = set(runs)
    return {run: outcome for path in {path_of(run) for run in wanted} for run, outcome in read(path) if run in wanted}


def carry_out(runs: list[Run], n_processes: int) -> Results:
    """Makes what is missing of `runs`, a line each, and gives back all of them."""
    results = known(runs)
    missing = [run for run in runs if run not in results]
    for n, (run, outcome) in enumerate(_measured(missing, n_processes), 1):
        append(path_of(run), run, outcome)
        results[run] = outcome
        label = f"{run.optimizer}, {run.problem}, {run.workers} workers, seed {run.seed}"
        told = f"{outcome.hypervolume[-1]:.4f}, {outcome.n_trials} trials, {outcome.ask_ms or 0:.1f} ms an ask"
        print(f"[{n}/{len(missing)}] {label}: {told}", flush=True)
    return results


def _measured(runs: list[Run], n_processes: int) -> Iterator[tuple[Run, Outcome]]:
    if n_processes == 1:
        yield from ((run, measure(run)) for run in runs)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, spawn, start_process) as pool:
        futures = {pool.submit(measure, run): run for run in runs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def start_process() -> None:
    """Quiet, and ended by Ctrl-C without a traceback."""
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
