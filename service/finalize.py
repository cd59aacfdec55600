"""The last word on a front: each network trained anew on all data but the test split, which then judges it once."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from service.dispatch import Dispatcher
from service.errors import InputError, ServiceError
from service.ranking import front
from service.schema import Study, Trial, TrialState
from service.scores import FinalScore, score
from service.specs import trial_spec
from service.store import Store
from worker.schema import AnyTrialSpec, FailureKind, TrialResult

N_SEEDS = 3
_MAX_ATTEMPTS = 3
_COLUMNS = ("trial_id", "is_default", "seed", "test_error", "deployment_energy", "energy", "energy_method",
            "energy_quality", "failure")  # fmt: skip
# Trial and seed.
Run = tuple[str, int]


def finalize(
    study: Study,
    store: Store,
    dispatcher: Dispatcher,
    *,
    on_result: Callable[[TrialResult, int, int], None] = lambda _result, _n_done, _n_all: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[FinalScore]:
    """Trains the front, and beside it what it is compared with, on training and validation data over three seeds.

    Each network is evaluated once on the test split. What was recorded before is not done again, so that no network
    is judged twice, and a run that was broken off goes on.

    Args:
        study: whose trials are in `store`.
        store: every result is recorded in its log first.
        dispatcher: where the trainings run.
        on_result: is given each result, how many are done and how many there are.
        should_stop: is asked after each result; what runs then is left to itself.

    Raises:
        InputError: the study has no front yet.
    """
    chosen = _chosen(study, store)
    runs: list[Run] = [(t.trial_id, study.spec.seed + k) for t in chosen for k in range(N_SEEDS)]
    results = store.final_results(study.study_id)
    trials = {t.trial_id: t for t in chosen}
    waiting = deque((run, 1) for run in runs if run not in results)
    inbox: SimpleQueue[TrialResult] = SimpleQueue()
    running: dict[str, Run] = {}
    while (waiting or running) and not should_stop():
        while waiting and len(running) < dispatcher.n_slots():
            (trial_id, seed), attempt = waiting.popleft()
            spec = _final_spec(study, trials[trial_id], seed, attempt)
            running[spec.trial_id] = trial_id, seed
            dispatcher.submit(spec, inbox.put)
        if not running:
            raise ServiceError("no worker is there to train the front on")
        result = inbox.get()
        run = running.pop(result.trial_id)
        is_lost = result.failure is not None and result.failure.kind is FailureKind.WORKER_LOST
        if is_lost and result.attempt < _MAX_ATTEMPTS:
            waiting.appendleft((run, result.attempt + 1))
            continue
        store.record_final(study.study_id, *run, result)
        results[run] = result
        on_result(result, len(results), len(runs))
    return [score(trial, results) for trial in chosen]


def write_final(path: Path, study: Study, store: Store) -> None:
    """Writes every final training as a row of a CSV file; energies in J, deployment energy in J per image."""
    defaults = {t.trial_id for t in store.trials(study.study_id) if t.is_default}
    with path.open("w", newline="") as file:
        more = [name for name in study.spec.objectives if name not in ("error", *_COLUMNS)]
        writer = csv.DictWriter(file, [*_COLUMNS, *more], restval="", extrasaction="ignore")
        writer.writeheader()
        for (trial_id, seed), result in sorted(store.final_results(study.study_id).items()):
            writer.writerow(_row(trial_id, trial_id in defaults, seed, result))


def _chosen(study: Study, store: Store) -> list[Trial]:
    """The front, and what it is compared with as far as that completed."""
    trials = store.trials(study.study_id)
    found = front(study.spec, trials)
    if not found:
        raise InputError(f"study {study.spec.name} has no front yet: no trial completed at full fidelity")
    return [*found, *(t for t in trials if t.is_default and t.state is TrialState.COMPLETED)]


def _final_spec(study: Study, trial: Trial, seed: int, attempt: int) -> AnyTrialSpec:
    name = f"final-{trial.trial_id}-{seed}"
    return trial_spec(study.spec, trial, trial_id=name, seed=seed, n_seeds=1, attempt=attempt, is_final=True)


def _row(trial_id: str, is_default: bool, seed: int, result: TrialResult) -> dict[str, object]:
    values: dict[str, object] = {name: m.value for name, m in result.objectives.items()}
    energy = result.objectives.get("energy")
    return values | {
        "trial_id": trial_id,
        "is_default": is_default,
        "seed": seed,
        "test_error": values.get("error"),
        "deployment_energy": values.get("deployment_energy"),
        "energy": values.get("energy"),
        "energy_method": energy.method if energy else None,
        "energy_quality": energy.quality if energy else None,
        "failure": result.failure.kind if result.failure else None,
    }
