"""Stores with a study of any number of trials, as if it had been run: fast to make and the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import insert

from service.schema import Study, StudyState, Trial, TrialState
from service.store import Store, tables
from service.store.projection import CHANGING
from tests.service.fakes import completed, failed, measurement, study_spec
from worker.schema import Measurement, TrialResult

RUNGS = ((3.0, 3), (5.3, 5), (10.0, 10))
WORKERS = ("local-0", "local-1", "gpu-node-17", "gpu-node-18")
_BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_STEP = timedelta(seconds=12)


def filled(store: Store, n_trials: int, *, state: StudyState = StudyState.RUNNING, **changes: Any) -> Study:
    """A study with its default and `n_trials` trials on three rungs; some failed, the last ones run and wait."""
    study = store.create_study(study_spec(**({"name": "generated", "budget": {"n_trials": n_trials + 1}} | changes)))
    rows = [
        {"study_id": study.study_id, "trial_id": trial_id, "kind": kind, "at": at, "payload": payload}
        for kind, trial_id, at, payload in _log(study, n_trials)
    ]
    store.database.write(lambda connection: connection.execute(insert(tables.events), rows))
    store.rebuild(study.study_id)
    store.set_study_state(study.study_id, state)
    return store.study(study.study_id)


def more(store: Store, study: Study, first: int, n: int) -> None:
    """Records further trials that complete, each through the store's own door."""
    draw = np.random.default_rng(first)
    for number in range(first, first + n):
        trial, result, _ = _trial(study, number, 2, draw)
        store.add_trial(trial)
        store.start_attempt(trial)
        assert store.finish_attempt(result, TrialState.COMPLETED)


def _log(study: Study, n_trials: int) -> Iterator[tuple[str, str, datetime, dict[str, Any]]]:
    draw = np.random.default_rng(0)
    free = dict.fromkeys(range(len(WORKERS)), _BEGIN)
    yield "study_running", "", _BEGIN, {"reason": ""}
    for number in range(n_trials + 1):
        rung = 2 if number == 0 else int(draw.choice(3, p=(0.5, 0.3, 0.2)))
        trial, result, is_default = _trial(study, number, rung, draw)
        worker = min(free, key=lambda each: free[each])
        begin = free[worker]
        end = begin + _STEP * float(draw.uniform(0.5, 1.5)) * (1 + rung)
        free[worker] = end + _STEP * float(draw.exponential(0.15))
        result = result.model_copy(
            update={"worker": WORKERS[worker], "duration_seconds": (end - begin).total_seconds()}
        )
        yield "trial_added", trial.trial_id, begin, trial.model_dump(mode="json", exclude=CHANGING)
        n_left = n_trials - number
        if n_left < 2 and not is_default:
            continue
        yield "attempt_started", trial.trial_id, begin, {"attempt": 1}
        if n_left < 5 and not is_default:
            continue
        ended = TrialState.COMPLETED if result.failure is None else TrialState.FAILED
        yield "attempt_finished", trial.trial_id, end, {"result": result.model_dump(mode="json"), "state": ended}


def _trial(study: Study, number: int, rung: int, draw: np.random.Generator) -> tuple[Trial, TrialResult, bool]:
    fidelity, depth = RUNGS[rung]
    is_default = number == 0
    trial_id = "default" if is_default else f"{number:05d}"
    config = _config(draw)
    trial = Trial(
        study_id=study.study_id,
        trial_id=trial_id,
        state=TrialState.WAITING,
        config=config,
        fidelity=fidelity,
        shift_depth=depth,
        epochs=3 * (rung + 1),
        seed=0,
        is_default=is_default,
        is_full=rung == 2,
        promoted_from=f"{number - 1:05d}" if rung and number > 1 else None,
    )
    if draw.uniform() < 0.04 and not is_default:
        return trial, failed(trial_id, study_id=study.study_id), is_default
    # More bits err less and cost more; the learning rate has its best in the middle.
    bits, rate = config["weight_bits"], np.log10(config["learning_rate"])
    error = 0.04 + 0.5 / bits**1.5 + 0.05 * (rate + 2) ** 2 + 0.08 * (2 - rung) + abs(draw.normal(0, 0.03))
    energy = 2e-7 * bits * (0.6 + 0.05 * config["activation_fraction_bits"]) * float(draw.uniform(0.9, 1.1))
    if is_default:
        error, energy = 0.21, 1.9e-6
    figures = {
        "error": measurement(round(error, 5), "evaluation", "measured", "ratio"),
        "deployment_energy": measurement(energy, "analytic", "estimated", "J / image"),
        "energy": measurement(float(draw.uniform(40, 60)) * (rung + 1), "codecarbon", "estimated", "J"),
    }
    result = completed(trial_id, study_id=study.study_id, joules=figures["energy"].value, objectives=figures)
    seeds = tuple(_of_seed(figures, error + shift) for shift in (-0.01, 0.01)) if study.spec.n_seeds > 1 else ()
    losses = tuple(round(2.2 / (1 + epoch), 4) for epoch in range(trial.epochs or 0))
    return trial, result.model_copy(update={"by_seed": seeds, "training_loss": losses}), is_default


def _of_seed(figures: dict[str, Measurement], error: float) -> dict[str, Measurement]:
    return figures | {"error": figures["error"].model_copy(update={"value": error})}


def _config(draw: np.random.Generator) -> dict[str, Any]:
    return {
        "quantizer": str(draw.choice(["deepshift-q", "deepshift-ps"])),
        "weight_bits": int(draw.integers(2, 6)),
        "activation_integer_bits": int(draw.integers(2, 17)),
        "activation_fraction_bits": int(draw.integers(2, 17)),
        "optimizer": str(draw.choice(["sgd", "adam", "radam"])),
        "learning_rate": float(10 ** draw.uniform(-4, -0.5)),
        "batch_size": int(2 ** draw.integers(4, 9)),
        "weight_decay": float(10 ** draw.uniform(-6, -2)),
    }
